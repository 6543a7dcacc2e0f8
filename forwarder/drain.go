package forwarder

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/forwarder/state"
	"uvs/modes"
)

const (
	// drainGrace is how long a connection that a policy ends is kept: for that time a
	// client that sends is answered, and a silent one can be probed.
	drainGrace = 3*conntrack.TicksPerSecond + 1 // the last probe falls into it
	// roundTicks is how often the connection table is walked while there are connections to
	// end.
	roundTicks = 1 * conntrack.TicksPerSecond
	// probesPerTick limits the probes to silent clients, and so how many clients come back
	// at once: 10,000 a second.
	probesPerTick = 1000
	// blocksPerTick limits the walk through the table, 262,144 entries in a tick, and
	// endsPerTick the connections that are ended on it, at about a microsecond each.
	blocksPerTick = 1024
	endsPerTick   = 20_000
	// blocksAtOnce is how many blocks are walked before workers get a turn.
	blocksAtOnce = 16
	// probeLen is enough of a buffer for a probe.
	probeLen = frame.Headroom + frame.EthernetLen + 40 + 40
)

// goneCounters counts what policies did.
type goneCounters struct {
	ended       *atomic.Uint64 // connections
	rescheduled *atomic.Uint64 // packets that got a new connection in place of theirs
	probes      *atomic.Uint64
}

func newGoneCounters(s *state.State) goneCounters {
	return goneCounters{
		ended:       s.Counter("policy-ended"),
		rescheduled: s.Counter("policy-rescheduled"),
		probes:      s.Counter("policy-probes"),
	}
}

// drainer ends the connections of removed servers where the policy of their service
// says so, including silent ones. It walks the connection table in pieces, off the path
// of packets, and belongs to one goroutine.
//
// A TCP client can be reset only with the sequence number it expects next, which is not
// recorded here. So the drainer sends it a segment that it must answer; the answer
// comes to a worker, which resets both ends with the numbers in it.
type drainer struct {
	fw     *Forwarder
	reader *conntrack.Reader
	hops   hopCache
	now    conntrack.Tick

	next    conntrack.Ref              // where the round continues; 0: none is under way
	again   conntrack.Tick             // when the next one may begin
	servers map[*service.Server]uint64 // servers the round is for
	found   int                        // connections it found that are to end
	budget  int                        // how many more of them there is time for in this tick

	frames []frame.Frame
	bufs   []byte
}

func newDrainer(fw *Forwarder, r *conntrack.Reader) *drainer { return &drainer{fw: fw, reader: r} }

// step does the work of a tick.
func (d *drainer) step(now conntrack.Tick) {
	if !d.fw.HasDraining.Load() {
		return
	}
	d.now = now
	if d.next == 0 {
		if now < d.again {
			return
		}
		if d.servers = d.fw.DrainedServers(now); len(d.servers) == 0 {
			return
		}
		d.next, d.again, d.found = 1, now+roundTicks, 0
	}
	d.walk()
	d.send()
	if d.next == 0 && d.found == 0 && d.fw.FinishDrain(d.servers) {
		d.fw.updateOrLog()
	}
}

// walk continues through the table until it has done enough for a tick.
func (d *drainer) walk() {
	d.budget = endsPerTick
	for n := 1; d.next != 0 && n <= blocksPerTick && d.budget > 0 && len(d.frames) < probesPerTick; n++ {
		d.next = d.reader.Walk(d.next, d.visit)
		if n%blocksAtOnce == 0 {
			runtime.Gosched()
		}
	}
}

// visit ends a connection if its server was removed. It reports false if there is no
// time for more of them in this tick.
func (d *drainer) visit(c *conntrack.Conn) bool {
	s := d.fw.Server(c.Server)
	if s == nil || !s.DrainExpired(d.now) {
		return true
	}
	p := s.Policy.Load()
	asks := p.Gone == config.GoneReset && c.Proto() == frame.ProtoTCP && !c.Has(conntrack.Template)
	switch {
	case p.Drain == 0 && !asks:
		return true // it stays until its client sends
	case d.budget == 0, asks && len(d.frames) == probesPerTick:
		return false
	}
	d.found++
	d.budget--
	if c.Has(conntrack.Template) || p.Gone == config.GoneDrop || isClosed(c) {
		d.remove(c)
		return true
	}
	first := d.reader.Linger(c, d.now, drainGrace)
	if first {
		d.fw.gone.ended.Add(1)
	}
	if asks {
		d.probe(c, !first)
	}
	return true
}

// isClosed reports whether neither end waits for anything on a connection: it is TCP
// and has ended, or has only started, so that its client will try again.
func isClosed(c *conntrack.Conn) bool {
	if c.Proto() != frame.ProtoTCP {
		return false
	}
	switch c.State() {
	case conntrack.TCPNone, conntrack.TCPSynRecv, conntrack.TCPSynSent, conntrack.TCPSynAck,
		conntrack.TCPTimeWait, conntrack.TCPClose, conntrack.TCPListen:
		return true
	}
	return false
}

// remove removes a connection, or a template that no longer controls any; one that does
// is no longer found.
func (d *drainer) remove(c *conntrack.Conn) {
	if c.Has(conntrack.Template) && c.Controls() > 0 {
		d.reader.Invalidate(c)
		return
	}
	if d.reader.Remove(c, d.now) && !c.Has(conntrack.Template) {
		d.fw.gone.ended.Add(1)
	}
}

// probe adds a probe to the client of a connection to the outgoing frames.
func (d *drainer) probe(c *conntrack.Conn, stamped bool) {
	hop, v := d.hops.lookup(d.fw.neigh, &c.Client)
	if v != frame.Continue {
		return
	}
	if d.bufs == nil {
		d.bufs = make([]byte, probesPerTick*probeLen)
	}
	var f frame.Frame
	n := len(d.frames) * probeLen
	if !modes.Probe(&f, d.bufs[n:n+probeLen:n+probeLen], c, rand.Uint64(), stamped) {
		return
	}
	d.fw.gone.probes.Add(1)
	f.Egress = hop.Link
	if !hop.Resolved {
		if v := d.fw.neigh.Queue(hop, &f); v.IsDrop() {
			d.fw.accounts.made.Add(1)
		}
		return
	}
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	d.frames = append(d.frames, f)
}

// send sends the outgoing frames.
func (d *drainer) send() {
	if len(d.frames) > 0 {
		d.fw.Emit(d.frames)
		d.frames = d.frames[:0]
	}
}
