package conntrack

import (
	"sync/atomic"

	"uvs/forwarder/frame"
)

// Synced entries come from another director's table. What a packet would do to an entry,
// a message does here.

// Timeout returns how long a connection of a protocol in a state lives without a packet.
// A state that the protocol has not is as none.
func (r *Rules) Timeout(proto uint8, s State) Tick {
	if proto == frame.ProtoTCP && int(s) >= TCPStates || proto == frame.ProtoSCTP && int(s) >= SCTPStates {
		s = 0
	}
	return r.timeout(proto, s)
}

// Report is what a message says about a connection or template.
type Report struct {
	State    State
	Inactive bool // its server counts it as inactive; meaningless for a template
	Timeout  Tick
	Packets  uint32 // from the client
}

// Update makes an entry what a message says, restarts its timeout, and says how the
// server's counts change. A connection that has left the table stays as it is.
func (t *Table) Update(c *Conn, p Report, now Tick) Change {
	var was, is uint32
	for {
		was = atomic.LoadUint32(&c.status)
		flags := Flags(was >> flagShift)
		if flags&dead != 0 {
			return Unchanged
		}
		flags &^= Closing
		if flags&Template == 0 {
			if flags &^= Inactive; p.Inactive {
				flags |= Inactive
			}
		}
		is = was&0xff | uint32(p.State)<<stateShift | uint32(flags)<<flagShift
		if is == was || atomic.CompareAndSwapUint32(&c.status, was, is) {
			break
		}
	}
	atomic.StoreUint32(&c.packets, p.Packets&^signed)
	t.rearm(t.Ref(c), now, max(p.Timeout, 1))
	return change(was, is)
}

// CountPacket counts one more packet from the client, and returns how many there are. A
// template counts those of the connections that it controls (ip_vs_sync.c,
// ip_vs_sync_conn).
func (c *Conn) CountPacket() uint32 { return atomic.AddUint32(&c.packets, 1) &^ signed }

// Answered is what the server of a connection that a SYN proxy began has said.
type Answered struct {
	Seq, Stamp uint32
	Scale      uint8
}

// Numbers returns all that says how the numbers of a connection with the flag
// Renumbered change, for InsertRenumbered and Answer in another table. It reports false
// if the server has not answered its SYN proxy yet.
func (t *Table) Numbers(c *Conn) (by Renumber, a Answered, ok bool) {
	by = t.Renumber(c)
	e := t.ending(c)
	marks := atomic.LoadUint32(&e.handshake)
	if marks&opening != 0 {
		return by, a, false
	}
	if marks&proxied != 0 {
		by.Handshake = Handshake{Made: true, Cookie: e.cookie, Stamp: e.stamp, Stamped: marks&stamped != 0,
			SACK: marks&selective != 0, Scale: uint8(marks >> clientScaleShift & scaleMask)}
		a = Answered{Seq: atomic.LoadUint32(&e.serverSeq), Stamp: atomic.LoadUint32(&e.serverStamp),
			Scale: uint8(marks >> serverScaleShift & scaleMask)}
	}
	return by, a, true
}

// Claim gives a connection that is not in the table yet the local port that it has
// already. It reports false if another has it. A port outside the range is nobody's. own
// says that the local address is one that this director gives out ports of.
func (p *Ports) Claim(c *Conn, own bool) bool {
	if c.LocalPort < p.low || c.LocalPort > p.high {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := PortKeyOf(c)
	pool := p.pool(k)
	if pool.used(c.LocalPort) {
		return false
	}
	pool.mark(c.LocalPort)
	pool.own = pool.own || own
	delete(pool.timeWaits, c.LocalPort)
	return true
}
