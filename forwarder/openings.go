package forwarder

import (
	"sync"
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/modes"
)

const (
	// openingsMax bounds how many connections wait for their server's answer, and
	// openingsBytes the memory for what their clients have sent meanwhile.
	openingsMax   = 1 << 16
	openingsBytes = 32 << 20
	// heldSegments bounds the segments that wait for one connection. The client's window
	// bounds their data.
	heldSegments = 16
	// synTries is how often a server gets the SYN: at once, and after 1, 3 and 7 seconds.
	// After 15 the client is reset.
	synTries = 4
)

// openings are the connections that the SYN proxy began with a client and that their
// server has not answered yet. What must outlive the process is in the connection table
// (conntrack.Handshake); here is the rest. Nothing of an established connection is.
type openings struct {
	mu    sync.Mutex
	all   map[conntrack.Ref]*opening
	bytes int // of segments that wait

	retried    atomic.Uint64 // SYNs that were sent again
	unanswered atomic.Uint64 // connections that were given up
	refused    atomic.Uint64 // connections that the server has reset
}

// opening is one of them. It is guarded by openings.mu once begin has it.
type opening struct {
	flow   frame.Flow // of the client's segments
	isn    uint32     // number of the client's SYN
	cookie uint32
	next   uint32 // of the client's next segment
	window uint16 // of the client
	held   []frame.Frame
	bytes  int

	syn   frame.Frame // as the server got it; empty: not sent yet
	tries int
	due   conntrack.Tick // when to send it again
}

// newOpening returns the opening of a connection that f, its client's first segment with
// ACK, completes.
func newOpening(f *frame.Frame, cookie uint32) *opening {
	seq, _ := f.TCPSeq()
	p := &opening{flow: f.Flow, isn: seq - 1, cookie: cookie, next: seq, window: f.TCPWindow()}
	if p.keep(f) {
		p.held[0].Counts = 0 // it ends as the one that opened the connection
	}
	return p
}

// keep keeps a segment that follows what there is, if it has anything to say.
func (p *opening) keep(f *frame.Frame) bool {
	seq, _ := f.TCPSeq()
	n := len(payload(f))
	fin := f.Info.TCPFlags & frame.FlagFIN
	if seq != p.next || n == 0 && fin == 0 || len(p.held) == heldSegments || p.bytes+n > firstWindow {
		return false
	}
	p.held = append(p.held, f.Copy())
	p.bytes += n
	p.next += uint32(n) + uint32(fin)
	return true
}

// room reports whether there is room for one more opening.
func (o *openings) room(p *opening) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all) < openingsMax && o.bytes+p.bytes <= openingsBytes
}

// begin adds an opening, before its SYN leaves. It reports false if there is one.
func (o *openings) begin(ref conntrack.Ref, p *opening) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[conntrack.Ref]*opening{}
	}
	if o.all[ref] != nil {
		return false
	}
	o.all[ref] = p
	o.bytes += p.bytes
	return true
}

// sent notes the SYN that has left for the server.
func (o *openings) sent(ref conntrack.Ref, p *opening, syn *frame.Frame, now conntrack.Tick) {
	kept := syn.Copy()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all[ref] == p {
		p.syn, p.tries, p.due = kept, 1, now+1*conntrack.TicksPerSecond
	}
}

// Results of hold.
const (
	heldIt   = iota
	notHeld  // it does not follow what is there, says nothing, or there is no room
	notThere // the opening was not kept over a restart
)

// hold keeps a segment of the client until the server has answered, for the account that
// counts it.
func (o *openings) hold(ref conntrack.Ref, f *frame.Frame, a *account) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.all[ref]
	if p == nil {
		return notThere
	}
	was := p.bytes
	a.wait(f)
	if o.bytes+len(payload(f)) > openingsBytes || !p.keep(f) {
		a.unwait(f)
		return notHeld
	}
	o.bytes += p.bytes - was
	return heldIt
}

// expects reports whether a reset with the number seq is the client's.
func (o *openings) expects(ref conntrack.Ref, seq uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.all[ref]
	return p != nil && seq-p.isn-1 <= p.next-p.isn-1
}

// take returns an opening and forgets it; nil if there is none.
func (o *openings) take(ref conntrack.Ref) *opening {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.all[ref]
	if p != nil {
		o.bytes -= p.bytes
		delete(o.all, ref)
	}
	return p
}

// of returns the number of the client's SYN.
func (o *openings) of(ref conntrack.Ref) (isn uint32, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.all[ref]; p != nil {
		return p.isn, true
	}
	return 0, false
}

// waiting returns how many frames of an account wait.
func (o *openings) waiting(account uint16) (n uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.all {
		for i := range p.held {
			if p.held[i].Account == account {
				n += uint64(p.held[i].Counts)
			}
		}
	}
	return n
}

// endOpening forgets an opening that leads to no connection, with what waits for it. It
// returns nil if there is none.
func (fw *Forwarder) endOpening(ref conntrack.Ref) *opening {
	p := fw.openings.take(ref)
	if p != nil {
		fw.accounts.end(frame.DropEarly, p.held)
	}
	return p
}

// count sets the counters of the SYN proxy.
func (o *openings) count(to map[string]uint64) {
	o.mu.Lock()
	to["synproxy-opening"] = uint64(len(o.all))
	o.mu.Unlock()
	to["synproxy-retries"] = o.retried.Load()
	to["synproxy-unanswered"] = o.unanswered.Load()
	to["synproxy-resets"] = o.refused.Load()
}

// proxyKeeper does for the SYN proxy what is due in time. It belongs to one goroutine.
type proxyKeeper struct {
	fw     *Forwarder
	reader *conntrack.Reader
}

// step replaces the secret of SYN cookies, sends SYNs again that no server answered, and
// gives up connections after the last.
func (k *proxyKeeper) step(now conntrack.Tick) {
	k.fw.cookies.Turn(cookieGeneration(now))
	again, over := k.fw.openings.overdue(now)
	for i := range again {
		k.fw.openings.retried.Add(1)
		k.fw.sendAlone(&again[i])
	}
	for _, ref := range over {
		k.giveUp(ref, now)
	}
}

// overdue returns copies of the SYNs to send again, and the openings to give up.
func (o *openings) overdue(now conntrack.Tick) (again []frame.Frame, over []conntrack.Ref) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for ref, p := range o.all {
		switch {
		case p.tries == 0 || p.due > now:
		case p.tries == synTries:
			over = append(over, ref)
		default:
			p.due = now + conntrack.TicksPerSecond<<p.tries
			p.tries++
			again = append(again, p.syn.Copy())
		}
	}
	return again, over
}

// giveUp resets the client of a connection whose server does not answer, and removes it.
func (k *proxyKeeper) giveUp(ref conntrack.Ref, now conntrack.Tick) {
	fw, r := k.fw, k.reader
	p := fw.endOpening(ref)
	if p == nil {
		return
	}
	fw.openings.unanswered.Add(1)
	r.Enter()
	if c := fw.conns.At(ref); !c.Gone() && c.RequestFlow() == p.flow {
		r.Remove(c, now)
	}
	r.Exit()
	back := p.flow.Reverse()
	rst := modes.Segment{Seq: p.cookie + 1, Ack: p.next, Flags: frame.FlagRST | frame.FlagACK, Scale: conntrack.NoScale}
	var f frame.Frame
	if rst.Request(&f, make([]byte, modes.MaxSegmentLen), &back) {
		fw.sendAlone(&f)
	}
}

// sendAlone sends a frame made here to its destination.
func (fw *Forwarder) sendAlone(f *frame.Frame) {
	var parser frame.Parser
	v := parser.Parse(f)
	var hop *neigh.Hop
	if v == frame.Continue {
		hop, v = fw.neigh.Lookup(f.Flow.Dst())
	}
	if v == frame.Continue && !hop.Resolved {
		f.Egress = hop.Link
		v = fw.neigh.Queue(hop, f)
	}
	if v.IsDrop() {
		fw.accounts.made.Add(1)
	}
	if v != frame.Continue {
		return
	}
	f.Egress = hop.Link
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	fw.Emit([]frame.Frame{*f})
}
