package forwarder

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

// fuzzRules serve the packets of the recordings by every forwarding method.
const fuzzRules = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m
-A -u 10.2.0.1:53 -s wlc
-a -u 10.2.0.1:53 -r 10.1.0.1:53 -m
-A -t 10.2.0.2:80 -s lc
-a -t 10.2.0.2:80 -r 10.1.0.2:80 -g
-A -t 10.2.0.3:80 -s sh
-a -t 10.2.0.3:80 -r 10.1.0.3:80 -i
-A -u 10.2.0.3:53 -s sh
-a -u 10.2.0.3:53 -r 10.1.0.3:53 -i
-A -t 10.2.0.4:80 -s dh
--add-laddr -t 10.2.0.4:80 --laddr 10.1.200.1
-a -t 10.2.0.4:80 -r 10.1.0.4:80 --fullnat
-A -t 10.3.0.1:80 -s rr
-a -t 10.3.0.1:80 -r 10.1.0.1:8080 -m
-A -t [fd00:2::1]:80 -s sed
-a -t [fd00:2::1]:80 -r [fd00:1::1]:8080 -m
-A -t [fd00:3::1]:80 -s nq
-a -t [fd00:3::1]:80 -r [fd00:1::1]:80 -i
-A -t 10.2.0.5:80 -s rr
-a -t 10.2.0.5:80 -r 10.1.0.5:80 -m
synproxy -t 10.2.0.5:80 on
-A -t [fd00:2::5]:80 -s rr
--add-laddr -t [fd00:2::5]:80 --laddr fd00:1::200
-a -t [fd00:2::5]:80 -r [fd00:1::5]:80 --fullnat
synproxy -t [fd00:2::5]:80 on
-A -t 10.2.0.6:21 -s rr -p
-a -t 10.2.0.6:21 -r 10.1.0.6:21 -m
-A -u 10.2.0.6:5060 -s rr -p --pe sip
-a -u 10.2.0.6:5060 -r 10.1.0.6:5060 -m
-A -t 10.2.0.7:80 -s rr
-a -t 10.2.0.7:80 -r 10.1.0.7:80 -m -w 0
policy -t 10.2.0.7:80 --gone reset --drain 1s
`

// A fuzzed input is a row of frames, each behind
//
//	1 byte   link: 1 if odd, else 2, with the facts of an offload behind it if 2 is set
//	2 bytes  length
//	10 bytes offload facts, if any
const (
	fuzzLink    = 1
	fuzzOffload = 2
)

// fuzzFrames reads the frames of an input.
func fuzzFrames(in []byte) (links []int, frames []porttest.Frame) {
	for len(in) >= 3 && len(frames) < 4*batchSize {
		kind, n := in[0], int(binary.BigEndian.Uint16(in[1:]))
		in = in[3:]
		var f porttest.Frame
		if kind&fuzzOffload != 0 && len(in) >= frame.OffloadLen {
			f.Offload.Decode(in)
			in = in[frame.OffloadLen:]
		}
		n = min(n, len(in))
		f.Bytes, in = in[:n], in[n:]
		link := 2
		if kind&fuzzLink != 0 {
			link = 1
		}
		links, frames = append(links, link), append(frames, f)
	}
	return links, frames
}

// fuzzInput is the reverse of fuzzFrames, for one frame without facts.
func fuzzInput(in []byte, link int, b []byte) []byte {
	in = append(in, byte(link&fuzzLink))
	in = binary.BigEndian.AppendUint16(in, uint16(len(b)))
	return append(in, b...)
}

// recordedInputs are the recorded cases, each as one input.
func recordedInputs(tb testing.TB) (all [][]byte) {
	tb.Helper()
	for _, name := range []string{"xform.jsonl", "edges.jsonl"} {
		file, err := os.Open("../modes/testdata/" + name)
		if err != nil {
			tb.Fatal(err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var c struct {
				Frames []struct{ Inject, Pkt string }
			}
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				tb.Fatal(err)
			}
			var in []byte
			for _, f := range c.Frames {
				p, _ := hex.DecodeString(f.Pkt)
				in = appendRecorded(in, f.Inject, p)
			}
			all = append(all, in)
		}
	}
	return all
}

func appendRecorded(in []byte, side string, p []byte) []byte {
	if len(p) == 0 {
		return in
	}
	link, mac := 1, clientLink.MAC
	if side == "<" {
		link, mac = 2, serverLink.MAC
	}
	etherType := uint16(frame.EtherIPv4)
	if p[0]>>4 == 6 {
		etherType = frame.EtherIPv6
	}
	b := append(mac[:], 2, 0, 0, 2, 0, 1)
	b = binary.BigEndian.AppendUint16(b, etherType)
	return fuzzInput(in, link, append(b, p...))
}

// feed sends the frames of an input through a director and checks that each was counted
// once and that only valid frames left. Their offload facts may be wrong: the kernel
// refuses to send such a frame, and that is counted.
func (b *testbed) feed(in []byte) {
	b.t.Helper()
	links, frames := fuzzFrames(in)
	before := b.total() + b.waiting()
	for i := 0; i < len(frames); {
		n := i
		for n < len(frames) && n-i < batchSize && links[n] == links[i] {
			n++
		}
		b.mem.far[links[i]].InjectFrames(frames[i:n]...)
		w := b.workers[links[i]]
		got, err := w.port.Recv(w.in[:])
		if err != nil || got != n-i {
			b.t.Fatalf("%d of %d frames received: %v", got, n-i, err)
		}
		w.batch(w.in[:got])
		i = n
	}
	for _, s := range b.collect() {
		if len(s.b) < frame.EthernetLen || len(s.b) > frame.MaxLen {
			b.t.Fatalf("a frame of %d bytes left", len(s.b))
		}
	}
	if n := b.total() + b.waiting() - before; n != uint64(len(frames)) {
		b.t.Fatalf("%d of %d frames were counted", n, len(frames))
	}
}

// waiting returns how many frames have no verdict yet.
func (b *testbed) waiting() uint64 {
	said := b.fw.accounts.sum()
	return said.fragments + said.outside.waiting()
}

// total returns the sum of all verdicts.
func (b *testbed) total() (n uint64) {
	for v := range frame.Verdicts {
		n += b.verdict(frame.Verdict(v))
	}
	return n
}

// FuzzDirector sends whole batches of frames, in both directions, through a
// new director.
func FuzzDirector(f *testing.F) {
	for _, in := range recordedInputs(f) {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		newTestbed(t, fuzzRules).feed(in)
	})
}

// TestSoak sends mutations of the recorded packets through a director and checks that its
// memory stays bounded.
func TestSoak(t *testing.T) {
	b := newTestbed(t, fuzzRules)
	inputs := recordedInputs(t)
	rng := newMutator(1)
	rounds := 4000
	if testing.Short() {
		rounds = 1000
	}
	var middle uint64
	for i := range rounds {
		b.feed(rng.mutate(inputs[i%len(inputs)]))
		if i == rounds/2 {
			middle = heap()
		}
	}
	if end := heap(); end > middle+16<<20 {
		t.Errorf("memory grew from %d to %d bytes in the second half", middle, end)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
