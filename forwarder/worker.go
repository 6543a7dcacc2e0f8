package forwarder

import (
	"errors"
	"net"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/modes"
)

// batchSize is how many frames a worker takes from its port at once. 256 gains
// less than 100 ns a frame over 64, and costs latency (measured on veth).
const batchSize = 64

// worker owns one receive queue: it takes a batch, forwards every frame of it
// and sends the results before it takes the next. It shares nothing but the
// connection table's shards and atomics.
type worker struct {
	fw     *Forwarder
	link   neigh.Link
	port   Port
	parser frame.Parser
	reader *conntrack.Reader
	frags  *frame.Reassembler
	tunnel modes.Outer // identification and scratch of outer headers

	in      [batchSize]frame.Frame
	verdict [batchSize]frame.Verdict
	found   [batchSize]conntrack.Found

	out    outbox
	arena  arena
	hops   hopCache
	tally  tally
	icmp   bucket
	conf   *settings // of this batch
	links  *linkSet  // of this batch
	now    conntrack.Tick
	record *Record // decision record, nil while nobody asks
}

// run forwards until the port is closed.
func (w *worker) run() {
	defer w.close()
	for {
		n, err := w.port.Recv(w.in[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			w.fw.log.Error("receive", "link", w.link.Name, "err", err)
			return
		}
		w.batch(w.in[:n])
	}
}

// batch is the packet's way, a stage a line.
func (w *worker) batch(fs []frame.Frame) {
	w.begin()
	w.parse(fs)
	w.lookup(fs)
	for i := range fs {
		w.tally.count(w.forward(&fs[i], &w.verdict[i], &w.found[i]))
	}
	w.end()
}

// begin takes what is constant for a batch: the clock, the configuration, the
// interfaces.
func (w *worker) begin() {
	w.now = w.fw.tick(time.Now())
	w.conf = w.fw.settings.Load()
	if l := w.fw.links.Load(); l != w.links {
		w.links = l
		w.out.forget(l)
	}
	w.reader.Enter()
}

// end sends what the batch produced and publishes its counters.
func (w *worker) end() {
	w.tally.add(frame.DropSend, w.out.flush())
	w.arena.reset()
	w.reader.Exit()
	w.tally.publish(w.fw)
}

func (w *worker) parse(fs []frame.Frame) {
	for i := range fs {
		v := w.parser.Parse(&fs[i])
		if v == frame.Continue && !w.forUs(&fs[i]) {
			v = frame.Pass
		}
		w.verdict[i] = v
	}
}

// forUs reports whether the frame's Ethernet destination is this interface, or
// a group: a bridge floods frames for others to us as well.
func (w *worker) forUs(f *frame.Frame) bool {
	dst := f.Ethernet()[:6]
	return dst[0]&1 != 0 || [6]byte(dst) == w.link.MAC
}
