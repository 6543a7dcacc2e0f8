package conntrack

import (
	"sync/atomic"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// ending is what the table knows beside the entry of a TCP connection by FULLNAT:
// how it ends, because its local port may then be another's, and what became of
// the one before it. Its memory is untouched until a connection closes.
type ending struct {
	prev, next Ref    // in the list of its pool; guarded by Ports.mu
	place      uint32 // guarded by Ports.mu
	marks      uint32 // atomic, but for unstamped
	fin        [2]uint32
	stamp      uint32 // atomic: the client's last time stamp, 0 for none
	shift      uint32 // added to the client's numbers; set before the entry is in the table
}

// endingSize is how much memory an ending takes, in bytes.
const endingSize = 32

// Places of a connection's port.
const (
	portHeld    = iota // by the connection
	portListed         // by the connection, which is over: another may have it
	portGiven          // by another connection already
	portVacated        // by the connection, which is about to be removed
)

// Marks of an ending.
const (
	finSeen   = 1 << iota // of the client; that of the server is the next bit
	_                     //
	finHeard              // the other end has acknowledged the client's; the server's is the next bit
	_                     //
	resetSaid             // by the client, at the number fin[Request]
	wasReset              // by a reset that is not forged
	unstamped             // time stamps are kept from the server

	bothHeard = finHeard | finHeard<<1
)

// Segment is what a TCP segment says about the end of its connection. Numbers are
// those that the server counts with.
type Segment struct {
	Flags    uint8
	Seq, Ack uint32
	Len      uint32 // bytes of data
	Stamp    uint32 // time stamp (RFC 7323), 0 for none
}

// Past is what a server may remember of the connection that had a local port
// before.
type Past struct {
	Next  uint32 // sequence number it would have taken next
	Stamp uint32 // the last time stamp it saw, 0 for none
}

// Renumber says how the segments of a client are changed for a server that may
// remember another connection from the same local port.
type Renumber struct {
	Shift     uint32 // to add to the client's sequence numbers
	Unstamped bool   // the option of time stamps is kept from the server
}

// ends reports whether a connection has an ending.
func (c *Conn) ends() bool { return c.Method() == sched.FullNAT && c.Proto() == frame.ProtoTCP }

func (t *Table) ending(c *Conn) *ending { return &t.endings[t.Ref(c)] }

// Renumber returns how a connection with the flag Renumbered is.
func (t *Table) Renumber(c *Conn) Renumber {
	e := t.ending(c)
	return Renumber{e.shift, atomic.LoadUint32(&e.marks)&unstamped != 0}
}

// Expect notes the sequence number that the server of a TCP connection by FULLNAT
// takes next, as it last said. Safe for concurrent use.
func (c *Conn) Expect(seq uint32) {
	if atomic.LoadUint32(&c.expects) != seq {
		atomic.StoreUint32(&c.expects, seq)
	}
}

// Observe takes in a segment that says something about the end of a connection
// by FULLNAT: any with SYN, FIN or RST, and all that come after the first FIN or
// RST.
//
// A connection is over when each end has acknowledged the other's FIN, or with a
// reset that names exactly the number that the server takes next (RFC 5961
// section 3.2): any other may come from who cannot see the connection. From then
// on its port can be another's; the entry stays until that.
func (p *Ports) Observe(c *Conn, s *Segment, dir Direction) {
	e := p.table.ending(c)
	switch {
	case s.Flags&frame.FlagRST != 0:
		if e.resets(c, s, dir) {
			e.mark(wasReset)
			p.list(c, e, true)
		}
		return
	case s.Flags&frame.FlagSYN != 0:
		if dir == Request && (atomic.CompareAndSwapUint32(&c.expects, 0, s.Seq+1) || p.revive(c, e)) {
			c.Expect(s.Seq + 1)
		}
		return
	case s.Flags&frame.FlagFIN == 0 && !e.closes():
		return
	}
	if s.Stamp != 0 && dir == Request {
		atomic.StoreUint32(&e.stamp, s.Stamp)
	}
	if s.Flags&frame.FlagFIN != 0 {
		e.finish(s.Seq+s.Len+1, dir)
	}
	if s.Flags&frame.FlagACK != 0 {
		e.hear(s.Ack, Reply-dir)
	}
	switch {
	case e.has(bothHeard):
		p.list(c, e, false)
	case e.has(wasReset):
		p.list(c, e, true)
	}
}

// finish notes which number acknowledges the FIN of one end.
func (e *ending) finish(next uint32, dir Direction) {
	if atomic.SwapUint32(&e.fin[dir], next) != next {
		atomic.AndUint32(&e.marks, ^uint32(finHeard<<dir|resetSaid))
	}
	e.mark(finSeen << dir)
}

// hear takes in that the other end acknowledges what dir has sent.
func (e *ending) hear(ack uint32, dir Direction) {
	if ack != atomic.LoadUint32(&e.fin[dir]) {
		return
	}
	switch {
	case e.has(finSeen << dir):
		e.mark(finHeard << dir)
	case dir == Request && e.has(resetSaid):
		e.mark(wasReset)
	}
}

// ahead is how far a client's reset may be ahead of what the server has
// acknowledged, in bytes, if the server's next acknowledgement names its number.
const ahead = 1 << 16

// resets reports whether a reset ends the connection: its number is one that only
// those know who see the connection. That of a client whose last data has not been
// acknowledged is kept until it is.
func (e *ending) resets(c *Conn, s *Segment, dir Direction) bool {
	expects := atomic.LoadUint32(&c.expects)
	if dir == Reply {
		fin := atomic.LoadUint32(&e.fin[Reply])
		return s.Flags&frame.FlagACK != 0 && s.Ack == expects ||
			e.has(finSeen<<Reply) && (s.Seq == fin || s.Seq == fin-1)
	}
	if s.Seq != expects && s.Seq-expects < ahead && !e.has(finSeen) {
		atomic.StoreUint32(&e.fin[Request], s.Seq)
		e.mark(resetSaid)
	}
	return s.Seq == expects
}

// closes reports whether one end has sent its FIN, or the client a reset.
func (e *ending) closes() bool {
	return atomic.LoadUint32(&e.marks)&(finSeen|finSeen<<1|resetSaid) != 0
}

func (e *ending) has(marks uint32) bool { return atomic.LoadUint32(&e.marks)&marks == marks }

func (e *ending) mark(m uint32) {
	if !e.has(m) {
		atomic.OrUint32(&e.marks, m)
	}
}

// past returns what the server may remember of a connection that is over.
func (t *Table) past(c *Conn) Past {
	e := t.ending(c)
	next := atomic.LoadUint32(&c.expects)
	if e.has(bothHeard) {
		next = atomic.LoadUint32(&e.fin[Request])
	}
	return Past{next, atomic.LoadUint32(&e.stamp)}
}
