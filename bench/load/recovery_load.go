package load

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/afpacket"
	"uvs/forwarder/frame"
)

// RecoveryCall describes a load whose rate changes, or whose forwarder is stopped for
// a moment, and of which one frame in Every is followed.
type RecoveryCall struct {
	UDPCall
	Phases  []Phase
	Every   int           // a divisor of the number of flows
	Stall   time.Duration // for which the forwarder is stopped
	At      time.Duration // when
	Burners int           // threads that want the forwarder's CPU in the second phase
	CPU     int           // the forwarder's; -1: any
}

// Followed is what became of the frames that were followed.
type Followed struct {
	Latency []int32 // by frame, in microseconds from its planned time; -1: lost
	Stopped time.Duration
	Faults  []string
}

// Follow runs a load and follows its frames.
func (t *Tester) Follow(c RecoveryCall, r *Followed) error {
	t.trials++
	g, err := t.generator(&c.UDPCall, c.Load, c.path(), nil)
	if err != nil {
		return err
	}
	p := Plan(c.Phases)
	g.plan, g.stream.plan = p, p
	length := time.Duration(0)
	for _, ph := range c.Phases {
		length += ph.For
	}
	g.limit = p.Due(length)
	f, err := newFollower(&c, t.expect(&c.UDPCall, g.stream), int(g.limit))
	if err != nil {
		return errors.Join(err, g.port.Close())
	}
	f.begin.Store(time.Now().UnixNano())
	g.start()
	f.begin.Store(g.begin.UnixNano())
	r.Stopped, err = c.disturb(g.begin)
	<-g.spent
	time.Sleep(300 * time.Millisecond) // what is on its way
	g.close()
	err = errors.Join(err, f.close())
	r.Latency, r.Faults = f.latency, f.faults
	return err
}

// disturb takes the forwarder's CPU away as the call says.
func (c *RecoveryCall) disturb(begin time.Time) (time.Duration, error) {
	if c.Burners > 0 && len(c.Phases) > 1 {
		var stop atomic.Bool
		time.Sleep(time.Until(begin.Add(c.Phases[0].For)))
		for range c.Burners {
			go burner(c.CPU, &stop)
		}
		time.Sleep(time.Until(begin.Add(c.Phases[0].For + c.Phases[1].For)))
		stop.Store(true)
	}
	if c.Stall == 0 {
		return 0, nil
	}
	time.Sleep(time.Until(begin.Add(c.At)))
	from := time.Now()
	if err := unix.Kill(c.PID, unix.SIGSTOP); err != nil {
		return 0, err
	}
	time.Sleep(c.Stall)
	err := unix.Kill(c.PID, unix.SIGCONT)
	return time.Since(from), err
}

// burner wants a CPU for itself until it is told to stop.
func burner(cpu int, stop *atomic.Bool) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if cpu >= 0 {
		var set unix.CPUSet
		set.Set(cpu)
		_ = unix.SchedSetaffinity(0, &set)
	}
	for x := uint64(1); !stop.Load(); {
		for range 10_000 {
			x = x*6364136223846793005 + 1442695040888963407
		}
	}
}

// follower notes when each of the frames that are followed arrived.
type follower struct {
	*counter
	port    *afpacket.Port
	expect  expect
	every   int
	flows   int
	begin   atomic.Int64
	latency []int32
	faults  []string
	done    chan struct{}
}

func newFollower(c *RecoveryCall, e expect, frames int) (*follower, error) {
	ifi, err := linkOf(ServerNode, c.Link)
	if err != nil {
		return nil, err
	}
	e.dstMAC = [6]byte(ifi.HardwareAddr)
	filter, err := eachNth(c.Every, c.Method)
	if err != nil {
		return nil, err
	}
	f := &follower{expect: e, every: c.Every, flows: c.Flows, done: make(chan struct{}),
		latency: slices.Repeat([]int32{-1}, (frames+c.Every-1)/c.Every)}
	err = inNode(ServerNode, func() (err error) {
		if f.counter, err = newCounter(c.Link); err != nil {
			return err
		}
		f.port, err = afpacket.Open(afpacket.Config{Interface: ifi, Filter: filter, Slots: 8192})
		return err
	})
	if err != nil {
		return nil, err
	}
	go f.run()
	return f, nil
}

// eachNth is a filter for the UDP frames of every nth flow: as flows come in turn
// and n divides their number, for every nth frame.
func eachNth(n int, m Method) ([]bpf.RawInstruction, error) {
	proto, at := uint32(frame.ProtoUDP), uint32(payloadOffset+flowAt)
	if m == Tunnel {
		proto, at = protoIPIP, at+20
	}
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: frame.EtherIPv4<<16 | 0x4500, SkipTrue: 5},
		bpf.LoadAbsolute{Off: ipOffset + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: proto, SkipTrue: 3},
		bpf.LoadAbsolute{Off: at, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(n)},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18},
	})
}

func (f *follower) run() {
	defer close(f.done)
	fs := make([]frame.Frame, Batch)
	for {
		n, err := f.port.Recv(fs)
		if err != nil {
			return // net.ErrClosed
		}
		now := (time.Now().UnixNano() - f.begin.Load()) / 1000
		for i := range fs[:n] {
			fs[i].CompleteChecksum()
			f.take(fs[i].Bytes(), now)
		}
	}
}

// take notes one frame that arrived so many microseconds after the beginning.
func (f *follower) take(b []byte, now int64) {
	flow, seq, mine, fault := f.expect.check(b)
	if !mine {
		return
	}
	at := (int(seq)*f.flows + int(flow)) / f.every
	switch {
	case fault != "":
	case at >= len(f.latency):
		fault = "frame was not sent"
	case f.latency[at] >= 0:
		fault = "frame arrived twice"
	default:
		f.latency[at] = int32(max(now-f.expect.stamp(b), 0))
	}
	if fault != "" && len(f.faults) < maxFaults {
		f.faults = append(f.faults, fault)
	}
}

func (f *follower) close() error {
	err := f.port.Close()
	<-f.done
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, f.counter.Close())
}
