package conntrack

import (
	"sync/atomic"

	"uvs/forwarder/frame"
)

// ending is what the table keeps beside the entry of a TCP connection by FULLNAT:
// how it ends, because another may then have its local port, and what the server
// may remember of the port's previous connection. For a connection that a SYN proxy
// began, by whatever method, it says how the numbers of the two ends differ. Its memory
// is not touched for others, and by FULLNAT not until a connection closes.
type ending struct {
	prev, next Ref    // in the list of its pool; guarded by Ports.mu
	portState  uint32 // guarded by Ports.mu
	marks      uint32 // atomic, except noTimestamps
	fin        [2]uint32
	tsval      uint32 // atomic: the client's last time stamp, 0 for none
	seqOffset  uint32 // added to the client's numbers; set before the entry is in the table

	// Of a connection that a SYN proxy began.
	cookie, stamp          uint32 // what the client was told; set before the entry is in the table
	serverSeq, serverStamp uint32 // what the server said; atomic, set before opening is cleared
	handshake              uint32 // marks of it; atomic
}

// endingSize is how much memory an ending takes, in bytes.
const endingSize = 52

// Values of ending.portState.
const (
	portHeld    = iota // the connection has its port
	portListed         // the connection is over and on its pool's list: another may have the port
	portGiven          // another connection has the port already
	portVacated        // the connection has the port and is about to be removed
)

// Marks of an ending.
const (
	finSeen      = 1 << iota // of the client; that of the server is the next bit
	_                        //
	finAcked                 // the other end has acknowledged the client's; the server's is the next bit
	_                        //
	rstPending               // by the client, at the number fin[Request]
	rstAccepted              // by a reset that is not forged
	noTimestamps             // time stamps are kept from the server

	bothAcked = finAcked | finAcked<<1
)

// Segment is what a TCP segment says about the end of its connection. Sequence
// numbers are as the server sees them.
type Segment struct {
	Flags    uint8
	Seq, Ack uint32
	Len      uint32 // bytes of data
	TSVal    uint32 // time stamp (RFC 7323), 0 for none
}

// TimeWait is what a server may remember of the connection that had a local port
// before.
type TimeWait struct {
	RcvNext uint32 // sequence number it would have taken next
	TSVal   uint32 // the last time stamp it saw, 0 for none
}

// Renumber says how a client's segments are changed for a server that may
// remember another connection from the same local port, or that comes into it only
// after a SYN proxy.
type Renumber struct {
	SeqOffset    uint32    // to add to the client's sequence numbers
	NoTimestamps bool      // the option of time stamps is kept from the server
	Handshake    Handshake // that the client has had with a SYN proxy
}

// hasEnding reports whether the table keeps an ending for a connection.
func (c *Conn) hasEnding() bool { return c.Method().NeedsLocal() && c.Proto() == frame.ProtoTCP }

// usesEnding reports whether the memory of the connection's ending is in use, by
// an ending or by Notes.
func (c *Conn) usesEnding() bool {
	f := c.Flags()
	return c.hasEnding() || f&(Helped|Template) == Helped || f&Renumbered != 0
}

func (t *Table) ending(c *Conn) *ending { return &t.endings[t.Ref(c)] }

// Renumber returns how the segments of a connection with the flag Renumbered are
// changed, but for the Handshake.
func (t *Table) Renumber(c *Conn) Renumber {
	if !c.hasEnding() {
		return Renumber{} // by NAT the memory may hold Notes
	}
	e := t.ending(c)
	return Renumber{SeqOffset: e.seqOffset, NoTimestamps: atomic.LoadUint32(&e.marks)&noTimestamps != 0}
}

// SetRcvNext stores the sequence number that the server of a TCP connection by
// FULLNAT expects next (RCV.NXT), by its last acknowledgement. Safe for concurrent
// use.
func (c *Conn) SetRcvNext(seq uint32) {
	if atomic.LoadUint32(&c.rcvNext) != seq {
		atomic.StoreUint32(&c.rcvNext, seq)
	}
}

// Observe follows the end of a connection by FULLNAT. Give it each segment with
// SYN, FIN or RST, and all that come after the first FIN or RST.
//
// A connection is over when each end has acknowledged the other's FIN, or with a
// reset whose number is exactly the one that the server expects next (RFC 5961
// section 3.2): any other could be from a sender that cannot see the connection.
// From then on another connection may have its port; the entry stays until one
// does.
func (p *Ports) Observe(c *Conn, s *Segment, dir Direction) {
	e := p.table.ending(c)
	switch {
	case s.Flags&frame.FlagRST != 0:
		if e.acceptsRST(c, s, dir) {
			e.mark(rstAccepted)
			p.list(c, e, true)
		}
		return
	case s.Flags&frame.FlagSYN != 0:
		if dir == Request && (atomic.CompareAndSwapUint32(&c.rcvNext, 0, s.Seq+1) || p.revive(c, e)) {
			c.SetRcvNext(s.Seq + 1)
		}
		return
	case s.Flags&frame.FlagFIN == 0 && !e.closing():
		return
	}
	if s.TSVal != 0 && dir == Request {
		atomic.StoreUint32(&e.tsval, s.TSVal)
	}
	if s.Flags&frame.FlagFIN != 0 {
		e.noteFIN(s.Seq+s.Len+1, dir)
	}
	if s.Flags&frame.FlagACK != 0 {
		e.noteACK(s.Ack, Reply-dir)
	}
	switch {
	case e.has(bothAcked):
		p.list(c, e, false)
	case e.has(rstAccepted):
		p.list(c, e, true)
	}
}

// noteFIN stores the number that acknowledges the FIN of one end.
func (e *ending) noteFIN(next uint32, dir Direction) {
	if atomic.SwapUint32(&e.fin[dir], next) != next {
		atomic.AndUint32(&e.marks, ^uint32(finAcked<<dir|rstPending))
	}
	e.mark(finSeen << dir)
}

// noteACK handles the other end's acknowledgement of what dir has sent.
func (e *ending) noteACK(ack uint32, dir Direction) {
	if ack != atomic.LoadUint32(&e.fin[dir]) {
		return
	}
	switch {
	case e.has(finSeen << dir):
		e.mark(finAcked << dir)
	case dir == Request && e.has(rstPending):
		e.mark(rstAccepted)
	}
}

// rstWindow is how far, in bytes, a client's reset may be ahead of what the server
// has acknowledged. It then counts once the server acknowledges its number.
const rstWindow = 1 << 16

// acceptsRST reports whether a reset ends the connection: its number is one that
// only those know who see the connection. The number of a client's reset that
// follows unacknowledged data is kept until the data is acknowledged.
func (e *ending) acceptsRST(c *Conn, s *Segment, dir Direction) bool {
	rcvNext := atomic.LoadUint32(&c.rcvNext)
	if dir == Reply {
		fin := atomic.LoadUint32(&e.fin[Reply])
		return s.Flags&frame.FlagACK != 0 && s.Ack == rcvNext ||
			e.has(finSeen<<Reply) && (s.Seq == fin || s.Seq == fin-1)
	}
	if s.Seq != rcvNext && s.Seq-rcvNext < rstWindow && !e.has(finSeen) {
		atomic.StoreUint32(&e.fin[Request], s.Seq)
		e.mark(rstPending)
	}
	return s.Seq == rcvNext
}

// closing reports whether one end has sent its FIN, or the client a reset.
func (e *ending) closing() bool {
	return atomic.LoadUint32(&e.marks)&(finSeen|finSeen<<1|rstPending) != 0
}

func (e *ending) has(marks uint32) bool { return atomic.LoadUint32(&e.marks)&marks == marks }

func (e *ending) mark(m uint32) {
	if !e.has(m) {
		atomic.OrUint32(&e.marks, m)
	}
}

// timeWait returns what the server may remember of a connection that is over.
func (t *Table) timeWait(c *Conn) TimeWait {
	e := t.ending(c)
	next := atomic.LoadUint32(&c.rcvNext)
	if e.has(bothAcked) {
		next = atomic.LoadUint32(&e.fin[Request])
	}
	return TimeWait{next, atomic.LoadUint32(&e.tsval)}
}
