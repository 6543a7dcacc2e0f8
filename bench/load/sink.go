package load

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/net/bpf"

	"uvs/forwarder/afpacket"
	"uvs/forwarder/frame"
)

// sink receives what arrives at the server: all frames are counted, and one in
// sampled is checked.
type sink struct {
	*counter
	port *afpacket.Port
	done chan struct{}

	mu       sync.Mutex
	expect   expect
	checked  uint64
	strays   uint64 // of a trial before
	disorder uint64
	faults   []string
	last     map[uint32]uint32         // newest sequence number by flow
	seen     map[uint64]bool           // flow and sequence number, when every frame is checked
	servers  map[uint32]netip.AddrPort // by flow, likewise
	origin   time.Time                 // of the stamps
	timing   bool                      // the window is open
	learned  []ends                    // by flow, where somebody wants to know
	latency  *hdrhistogram.Histogram
}

// maxFaults is how many faults a trial keeps.
const maxFaults = 5

// newSink opens a sink on an interface of a node. One frame in sampled is
// checked, chosen by the kernel at random; 1 is every frame.
func newSink(node, link string, sampled int, e expect) (*sink, error) {
	ifi, err := linkOf(node, link)
	if err != nil {
		return nil, err
	}
	e.dstMAC = [6]byte(ifi.HardwareAddr)
	s := &sink{expect: e, done: make(chan struct{}), last: map[uint32]uint32{},
		latency: hdrhistogram.New(1, 10_000_000, 3)}
	if sampled <= 1 {
		s.seen, s.servers = map[uint64]bool{}, map[uint32]netip.AddrPort{}
	}
	filter, err := sample(sampled, e.runs()...)
	if err != nil {
		return nil, err
	}
	err = inNode(node, func() (err error) {
		if s.counter, err = newCounter(link); err != nil {
			return err
		}
		s.port, err = afpacket.Open(afpacket.Config{Interface: ifi, Filter: filter, Slots: 8192})
		return err
	})
	if err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

// sample returns a filter that accepts IPv4 UDP, TCP and IP-in-IP packets: one in
// n at random, and what more accepts: instructions of which the last jumps over
// the one behind it for a frame to take.
func sample(n int, more ...bpf.Instruction) ([]bpf.RawInstruction, error) {
	var p []bpf.Instruction
	if n > 1 {
		p = append(p,
			bpf.LoadExtension{Num: bpf.ExtRand},
			bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(n)},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: uint8(len(more) + 1)})
		p = append(p, more...)
		p = append(p, bpf.RetConstant{Val: 0})
	}
	p = append(p,
		bpf.LoadAbsolute{Off: 12, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: frame.EtherIPv4<<16 | 0x4500, SkipTrue: 4},
		bpf.LoadAbsolute{Off: ipOffset + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: frame.ProtoUDP, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: frame.ProtoTCP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18})
	raw, err := bpf.Assemble(p)
	if err != nil {
		return nil, fmt.Errorf("bench: sample filter: %w", err)
	}
	return raw, nil
}

// Frames that follow each other in one flow show whether they are overtaken. With
// many flows all frames of one in manyFlows are taken; with fewer, of each flow
// runs of runLength frames in every manyFlows times as many.
const (
	manyFlows = 128
	runLength = 64
)

// runs are instructions that take such frames of a UDP stream, for sample. A
// connection that is opened has no second frame.
func (e *expect) runs() []bpf.Instruction {
	if e.transport() != frame.ProtoUDP {
		return nil
	}
	at := uint32(payloadOffset)
	if e.method == Tunnel && !e.reply {
		at += 20
	}
	if e.flows >= manyFlows {
		return []bpf.Instruction{
			bpf.LoadAbsolute{Off: at + flowAt, Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: manyFlows - 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		}
	}
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: at + seqAt, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: runLength*manyFlows - 1},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: runLength, SkipTrue: 1},
	}
}

func (s *sink) run() {
	defer close(s.done)
	fs := make([]frame.Frame, Batch)
	for {
		n, err := s.port.Recv(fs)
		if err != nil {
			return // net.ErrClosed
		}
		s.mu.Lock()
		since := time.Since(s.origin).Microseconds()
		for i := range fs[:n] {
			fs[i].CompleteChecksum()
			s.take(fs[i].Bytes(), since)
		}
		s.mu.Unlock()
	}
}

// timeFrom sets the time that the frames' stamps count from.
func (s *sink) timeFrom(origin time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.origin = origin
}

// open begins or ends to record latencies.
func (s *sink) open(timing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timing = timing
}

// take judges one frame that arrived so many microseconds after the origin.
func (s *sink) take(b []byte, now int64) {
	flow, seq, mine, fault := s.expect.check(b)
	if !mine {
		s.strays++
		return
	}
	s.checked++
	if s.timing {
		_ = s.latency.RecordValue(now - s.expect.stamp(b))
	}
	if fault == "" {
		s.learn(flow, b)
	}
	switch last, known := s.last[flow]; {
	case fault != "":
	case known && seq < last:
		s.disorder++
	case known && seq == last:
		fault = "frame arrived twice"
	default:
		s.last[flow] = seq
	}
	if s.seen != nil && fault == "" {
		key := uint64(flow)<<32 | uint64(seq)
		if s.seen[key] {
			fault = "frame arrived twice"
		}
		s.seen[key] = true
	}
	if fault == "" {
		fault = s.checkServer(flow, b)
	}
	if fault != "" && len(s.faults) < maxFaults {
		s.faults = append(s.faults, fault)
	}
}

// checkServer judges, where every frame is checked, whether all frames of a flow come
// to the same server, as far as their addresses tell.
func (s *sink) checkServer(flow uint32, b []byte) string {
	if s.servers == nil || s.expect.reply || s.expect.method != NAT && s.expect.method != FullNAT {
		return ""
	}
	server := netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[ipOffset+16:])), binary.BigEndian.Uint16(b[udpOffset+2:]))
	if first, known := s.servers[flow]; known && first != server {
		return fmt.Sprintf("a flow came to %v first and to %v later", first, server)
	}
	s.servers[flow] = server
	return ""
}

// awaitSilence waits until nothing has arrived for a while, at most two seconds, and
// returns what has arrived in all. The while is longer if frames are missing: a
// forwarder that is not let run may sit on a full ring for long, and what it sends
// later would be counted in the trial after.
func (s *sink) awaitSilence(sent uint64) (uint64, error) {
	const step, still, missing = 20 * time.Millisecond, 4, 10
	begin := time.Now()
	last, err := s.Packets()
	for same := 0; err == nil && time.Since(begin) < 2*time.Second; {
		if same >= missing || same >= still && last >= sent {
			break
		}
		time.Sleep(step)
		var now uint64
		if now, err = s.Packets(); now == last {
			same++
		} else {
			same = 0
		}
		last = now
	}
	return last, err
}

// close ends the sink and reports what it checked.
func (s *sink) close(t *Trial) error {
	err := s.port.Close()
	<-s.done
	if cerr := s.counter.Close(); err == nil {
		err = cerr
	}
	s.report(t)
	if err == net.ErrClosed {
		return nil
	}
	return err
}

// report writes what was checked into a trial.
func (s *sink) report(t *Trial) {
	t.Latency = points(s.latency)
	t.Checked, t.Strays, t.Disorder, t.Faults = s.checked, s.strays, s.disorder, s.faults
}

// points are the percentiles of a histogram that at least ten samples lie
// beyond.
func points(h *hdrhistogram.Histogram) Points {
	p := Points{Samples: uint64(h.TotalCount()), Max: float64(h.Max())}
	for _, q := range []struct {
		q    float64
		into *float64
	}{{50, &p.P50}, {90, &p.P90}, {99, &p.P99}, {99.9, &p.P999}} {
		if float64(h.TotalCount())*(100-q.q)/100 >= 10 {
			*q.into = float64(h.ValueAtQuantile(q.q))
		}
	}
	for _, q := range spectrum {
		if p.Samples > 0 && float64(h.TotalCount())*(100-q)/100 >= 10 {
			p.Spectrum = append(p.Spectrum, Quantile{q, float64(h.ValueAtQuantile(q))})
		}
	}
	return p
}

// spectrum are the percentiles of a plot.
var spectrum = []float64{0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999}
