package conntrack

import (
	"sync/atomic"

	"uvs/forwarder/frame"
)

// State is the state of a connection; what it means depends on the protocol.
// 0 is the state of an entry that has seen no packet, and the only one of UDP.
type State uint8

// States of a template (ip_vs.h, IP_VS_CTPL_S_*).
const (
	TemplateNone    State = 0
	TemplateAssured State = 1 // a connection that it controls was established
)

// Direction is where a packet goes.
type Direction uint8

// Directions. A packet of a connection that never saw a reply counts as
// inOnly, which has rules of its own.
const (
	Request Direction = iota // from the client
	Reply                    // from the real server
	inOnly
	directions
)

// Event is what a packet means for the state of its connection, from TCPEvent or
// SCTPEvent. UDP and other protocols have only Packet.
type Event uint8

// Packet is the event of a protocol without states.
const Packet Event = 0

// Change says how a server's counts follow from a change of state.
type Change int8

// Changes of a connection, and the amounts for sched.RealServer.AddCounts.
const (
	BecameInactive Change = -1
	Unchanged      Change = 0
	BecameActive   Change = 1
)

// Counts returns the amounts to add to the numbers of active and of inactive
// connections.
func (c Change) Counts() (active, inactive int32) { return int32(c), -int32(c) }

// Rules are the settings for states and timeouts. Read them once a batch; they do
// not change while in use. DefaultRules has the kernel's values.
type Rules struct {
	TCP  [TCPStates]Tick  // timeout of each state
	SCTP [SCTPStates]Tick // timeout of each state
	UDP  Tick             // and of protocols that have no states

	SecureTCP  bool // the stricter table of secure_tcp is in force
	SloppyTCP  bool // any segment but RST may open a connection
	SloppySCTP bool // any chunk but ABORT may open one
}

// DefaultRules returns what Linux 6.1 begins with.
func DefaultRules() *Rules {
	return &Rules{TCP: tcpTimeouts, SCTP: sctpTimeouts, UDP: Seconds(300)}
}

// Set changes the three timeouts of ipvsadm --set, in seconds; 0 leaves one as
// it is. They take effect for each connection with its next packet.
func (r *Rules) Set(tcp, tcpFin, udp uint32) {
	for _, x := range []struct {
		to *Tick
		s  uint32
	}{{&r.TCP[TCPEstablished], tcp}, {&r.TCP[TCPFinWait], tcpFin}, {&r.UDP, udp}} {
		if x.s != 0 {
			*x.to = Seconds(x.s)
		}
	}
}

// next returns the state after ev and whether the server counts it as active.
func (r *Rules) next(proto uint8, s State, ev Event, dir Direction) (State, bool) {
	switch proto {
	case frame.ProtoTCP:
		n := tcpNext(r.SecureTCP, dir, ev, s)
		return n, tcpActive[n]
	case frame.ProtoSCTP:
		n := sctpNext[dir][ev][s]
		return n, n == SCTPEstablished
	}
	return s, false
}

// timeout returns how long a connection in state s lives without a packet.
func (r *Rules) timeout(proto uint8, s State) Tick {
	switch proto {
	case frame.ProtoTCP:
		return r.TCP[s]
	case frame.ProtoSCTP:
		return r.SCTP[s]
	}
	return r.UDP
}

// nextStatus returns the status word after a packet: the new state, Inactive and
// NoOutput, without Closing (ip_vs_proto_tcp.c, set_tcp_state;
// ip_vs_proto_sctp.c, set_sctp_state).
func (r *Rules) nextStatus(status uint32, ev Event, dir Direction) uint32 {
	proto, state, flags := uint8(status), State(status>>stateShift), Flags(status>>flagShift)&^Closing
	if flags&NoOutput != 0 {
		if dir == Reply {
			flags &^= NoOutput
		} else {
			dir = inOnly
		}
	}
	next, active := r.next(proto, state, ev, dir)
	if next != state {
		flags |= Inactive
		if active {
			flags &^= Inactive
		}
	}
	return uint32(proto) | uint32(next)<<stateShift | uint32(flags)<<flagShift
}

// Advance applies a packet to connection c at tick now: it counts the packet,
// changes the state, restarts the timeout, and says how the server's counts
// change. For a packet that changes nothing it takes a few nanoseconds and no
// lock. A connection that has left the table stays as it is.
func (t *Table) Advance(c *Conn, ev Event, dir Direction, now Tick, r *Rules) Change {
	if dir == Request {
		atomic.AddUint32(&c.packets, 1)
	} else {
		c.FirstSign()
	}
	if atomic.LoadUint32(&c.seen) != uint32(now) {
		atomic.StoreUint32(&c.seen, uint32(now))
	}
	status := atomic.LoadUint32(&c.status)
	next := r.nextStatus(status, ev, dir)
	timeout := r.timeout(uint8(next), State(next>>stateShift))
	if next == status && atomic.LoadUint32(&c.timeout) == uint32(timeout) {
		if dir == Reply && uint8(status) == frame.ProtoUDP {
			t.assure(c)
		}
		return Unchanged
	}
	return t.changeState(c, ev, dir, now, r)
}

// changeState is Advance for a packet that changes state, flags or timeout.
func (t *Table) changeState(c *Conn, ev Event, dir Direction, now Tick, r *Rules) Change {
	var was, is uint32
	for {
		was = atomic.LoadUint32(&c.status)
		is = r.nextStatus(was, ev, dir)
		if Flags(was>>flagShift)&dead != 0 {
			return Unchanged
		}
		if is == was || atomic.CompareAndSwapUint32(&c.status, was, is) {
			break
		}
	}
	t.updateTimeout(c, is, now, r)
	if assures(was, is, dir) {
		t.assure(c)
	}
	return change(was, is)
}

// updateTimeout stores the timeout of the state. If another worker changes the
// state meanwhile, the last of them stores the timeout that belongs to it.
func (t *Table) updateTimeout(c *Conn, status uint32, now Tick, r *Rules) {
	for {
		timeout := r.timeout(uint8(status), State(status>>stateShift))
		old := atomic.SwapUint32(&c.timeout, uint32(timeout))
		if uint32(timeout) < old && !c.Has(OnePacket) && t.contains(c) {
			t.shorten(t.Ref(c), now+timeout)
		}
		at := atomic.LoadUint32(&c.status)
		if (at^status)>>stateShift&0xff == 0 {
			return
		}
		status = at
	}
}

// change compares how the server counts the connection before and after.
func change(was, is uint32) Change {
	inactive := uint32(Inactive) << flagShift
	switch {
	case was&inactive == is&inactive:
		return Unchanged
	case is&inactive != 0:
		return BecameInactive
	}
	return BecameActive
}

// assures reports whether a change makes the connection's template assured: the
// connection became established, or a UDP server answered.
func assures(was, is uint32, dir Direction) bool {
	state := State(is >> stateShift)
	switch uint8(is) {
	case frame.ProtoTCP:
		return was != is && state == TCPEstablished
	case frame.ProtoSCTP:
		return was != is && state == SCTPEstablished
	}
	return dir == Reply
}

// assure marks the template that controls c (ip_vs.h, ip_vs_control_assure_ct).
func (t *Table) assure(c *Conn) {
	if c.Control == 0 {
		return
	}
	ct := &t.conns[c.Control]
	if ct.Has(Template) && ct.State() != TemplateAssured {
		atomic.OrUint32(&ct.status, uint32(TemplateAssured)<<stateShift)
	}
}

// StateName returns the state as ipvsadm -Lc prints it.
func (c *Conn) StateName() string {
	status := atomic.LoadUint32(&c.status)
	proto, s := uint8(status), State(status>>stateShift)
	switch {
	case Flags(status>>flagShift)&Template != 0:
		if s == TemplateAssured {
			return "ASSURED"
		}
		return "NONE"
	case proto == frame.ProtoTCP && int(s) < len(tcpNames):
		return tcpNames[s]
	case proto == frame.ProtoSCTP && int(s) < len(sctpNames):
		return sctpNames[s]
	case proto == frame.ProtoUDP:
		return "UDP"
	}
	return "NONE"
}
