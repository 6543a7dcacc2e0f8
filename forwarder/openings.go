package forwarder

import (
	"container/list"
	"reflect"
	"sync"
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/modes"
)

const (
	// openingsMax bounds how many connections wait for their server's answer, and
	// openingsBytes their memory with what their clients have sent meanwhile.
	openingsMax   = 1 << 16
	openingsBytes = 64 << 20
	// heldSegments bounds the segments that wait for one connection. The client's window
	// bounds their data.
	heldSegments = 16
	// synTries is how often a server gets the SYN: at once, and after 1, 3 and 7 seconds.
	// After 15 the client is reset.
	synTries   = 4
	answerTime = 15 * conntrack.TicksPerSecond
)

var (
	// openingSize is the memory of an opening without what waits, in bytes: the SYN with
	// its buffer, and its places in the map and a queue.
	openingSize = int(reflect.TypeFor[opening]().Size()) + modes.MaxSegmentLen + 32 + int(reflect.TypeFor[list.Element]().Size())
	frameSize   = int(reflect.TypeFor[frame.Frame]().Size())
)

// openings are the connections that the SYN proxy began with a client and that their
// server has not answered yet. What must outlive the process is in the connection table
// (conntrack.Handshake); here is the rest. Nothing of an established connection is.
type openings struct {
	mu     sync.Mutex
	all    map[conntrack.Ref]*opening
	bytes  int                  // of memory
	shares map[config.Key]share // of the services that have some
	// elsewhere is how many more count in bytes and shares, where all has not those of all
	// connections.
	elsewhere int
	// queues are the Refs of those whose server has the SYN, by how often it had it; the
	// first is of adopted ones. Each is in the order in which they are due.
	queues [synTries + 1]list.List

	retried    atomic.Uint64 // SYNs that were sent again
	unanswered atomic.Uint64 // connections that were given up
	refused    atomic.Uint64 // connections that the server has reset
}

// share is what the openings of one service take.
type share struct{ conns, bytes int }

// opening is one of them. It is guarded by openings.mu once begin has it.
type opening struct {
	service config.Key // in whose share it counts
	flow    frame.Flow // of the client's segments
	isn     uint32     // number of the client's SYN
	cookie  uint32
	next    uint32 // of the client's next segment
	window  uint16 // of the client
	held    []frame.Frame
	data    int // bytes of payload in held
	bytes   int // of memory, as counted

	adopted bool // an earlier process began it: only flow and cookie are known

	syn   frame.Frame // as the server got it; empty: not sent yet
	tries int
	due   conntrack.Tick // when to send it again
	place *list.Element  // in openings.queues[tries]; nil: it is in none
}

// newOpening returns the opening of a connection that f, its client's first segment with
// ACK, completes.
func newOpening(f *frame.Frame, service config.Key, cookie uint32) *opening {
	seq, _ := f.TCPSeq()
	p := &opening{service: service, flow: f.Flow, isn: seq - 1, cookie: cookie, next: seq, window: f.TCPWindow()}
	if p.keep(f) {
		p.held[0].Counts = 0 // it ends as the one that opened the connection
	}
	p.bytes = p.memory()
	return p
}

// memory returns how much memory an opening takes, in bytes.
func (p *opening) memory() int {
	n := openingSize + cap(p.held)*frameSize
	for i := range p.held {
		buf, _, _ := p.held[i].Buffer()
		n += len(buf)
	}
	return n
}

// keep keeps a segment that follows what there is, if it has anything to say.
func (p *opening) keep(f *frame.Frame) bool {
	seq, _ := f.TCPSeq()
	n := len(payload(f))
	fin := f.Info.TCPFlags & frame.FlagFIN
	if seq != p.next || n == 0 && fin == 0 || len(p.held) == heldSegments || p.data+n > firstWindow {
		return false
	}
	p.held = append(p.held, f.Copy())
	p.data += n
	p.next += uint32(n) + uint32(fin)
	return true
}

// room reports whether there is room for one more opening.
func (o *openings) room(p *opening) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fits(p.service, share{1, p.bytes})
}

// fits reports whether a service may have so much more: not more in all than is then
// free. However many services have dead servers, there is room for one more.
func (o *openings) fits(service config.Key, more share) bool {
	own := o.shares[service]
	return own.conns+more.conns <= openingsMax-len(o.all)-o.elsewhere && own.bytes+more.bytes <= openingsBytes-o.bytes
}

// charge adds to the share of a service and to the whole, or takes away.
func (o *openings) charge(service config.Key, more share) {
	o.bytes += more.bytes
	own := share{o.shares[service].conns + more.conns, o.shares[service].bytes + more.bytes}
	if own == (share{}) {
		delete(o.shares, service)
		return
	}
	o.shares[service] = own
}

// begin adds the opening of a connection, before its SYN leaves. It reports false if the
// connection is another worker's, which has begun it, or has had the server's answer.
func (o *openings) begin(t *conntrack.Table, c *conntrack.Conn, p *opening) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	ref := t.Ref(c)
	if h, ok := t.Opening(c); !ok || h.Cookie != p.cookie || c.Gone() || o.all[ref] != nil {
		return false
	}
	o.add(ref, p)
	return true
}

func (o *openings) add(ref conntrack.Ref, p *opening) {
	if o.all == nil {
		o.all, o.shares = map[conntrack.Ref]*opening{}, map[config.Key]share{}
	}
	o.all[ref] = p
	o.charge(p.service, share{1, p.bytes})
}

// adopt adds the opening of a connection that an earlier process began, to give it up if
// neither its client nor its server completes it in time. There is room for as many as
// that process had.
func (o *openings) adopt(ref conntrack.Ref, flow frame.Flow, cookie uint32, now conntrack.Tick) {
	p := &opening{flow: flow, cookie: cookie, adopted: true, bytes: openingSize}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(ref, p)
	o.wait(ref, p, 0, now+answerTime)
}

// wait queues an opening whose server has had the SYN so often.
func (o *openings) wait(ref conntrack.Ref, p *opening, tries int, due conntrack.Tick) {
	p.tries, p.due, p.place = tries, due, o.queues[tries].PushBack(ref)
}

// sent notes the SYN that has left for the server.
func (o *openings) sent(ref conntrack.Ref, p *opening, syn *frame.Frame, now conntrack.Tick) {
	kept := syn.Copy()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all[ref] == p {
		p.syn = kept
		o.wait(ref, p, 1, now+1*conntrack.TicksPerSecond)
	}
}

// Results of hold.
const (
	heldIt   = iota
	notHeld  // it does not follow what is there, says nothing, or there is no room
	notKept  // the opening was not kept over a restart
	notThere // there is no opening: the server has answered, or the SYN has not left
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
	if p.adopted {
		return notKept
	}
	a.wait(f)
	if !o.fits(p.service, share{bytes: frameSize + frame.Headroom + f.Len()}) || !p.keep(f) {
		a.unwait(f)
		return notHeld
	}
	grown := p.memory() - p.bytes
	p.bytes += grown
	o.charge(p.service, share{bytes: grown})
	return heldIt
}

// expects reports whether a reset with the number seq is the client's.
func (o *openings) expects(ref conntrack.Ref, seq uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.all[ref]
	return p != nil && !p.adopted && seq-p.isn-1 <= p.next-p.isn-1
}

// take returns an opening and forgets it; nil if there is none.
func (o *openings) take(ref conntrack.Ref) *opening {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.all[ref]
	if p != nil {
		delete(o.all, ref)
		if p.place != nil {
			o.queues[p.tries].Remove(p.place)
		}
		o.charge(p.service, share{-1, -p.bytes})
	}
	return p
}

// of returns the number of the client's SYN.
func (o *openings) of(ref conntrack.Ref) (isn uint32, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.all[ref]; p != nil && !p.adopted {
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
