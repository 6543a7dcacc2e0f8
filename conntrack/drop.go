package conntrack

import (
	"math/rand/v2"
	"sync/atomic"

	"uvs/forwarder/frame"
)

// Dropper removes connections that look like an attack's when memory is short:
// drop_entry. It belongs to one goroutine.
type Dropper struct {
	counter [9]int8 // by packets seen: how many more to spare before one is dropped
	full    bool    // fewer slots are free than one call of Drop can free, or there is no memory for more
}

// Idle times before a connection may be dropped. IPVS has the first only; but its
// table grows where this one is full, and nothing tells when a datagram flow is
// over.
const (
	quietFor     = 60 * TicksPerSecond
	quietForFull = 1 * TicksPerSecond // datagram flows, in a full table
)

// Drop looks at one in 32 of r's connections, chosen at random, and removes those
// that have not got beyond their first packets. Half-open ones always go.
// Established ones and datagram flows go after 1 to 8 packets, less often the
// more they saw, and only after an idle minute; in a full table datagram flows go
// after an idle second, to make room. Templates go only if nothing they controlled
// was ever established, and never those of one-packet services, where that cannot
// be known. A connection stays whose server has not answered a SYN proxy: its client has
// shown that it exists. Call it once a second while it is needed (ip_vs_conn.c,
// ip_vs_random_dropentry).
func (d *Dropper) Drop(r *Reader, now Tick) (dropped int) {
	t := r.t
	used := int(t.slots.used.Load())
	d.full = t.Len()+t.Capacity()/32 >= t.Capacity() || t.Short()
	for range (used + 31) / 32 {
		slot := Ref(1 + rand.IntN(used))
		if due := atomic.LoadUint32(&t.due[slot]); due == 0 || due >= deadlineSpent {
			continue
		}
		r.Enter()
		if c := t.At(slot); !c.Gone() && !t.opens(c) && d.mayDrop(c, now) && r.drop(c, now) {
			dropped++
		}
		r.Exit()
	}
	return dropped
}

// opens reports whether a SYN proxy waits for the server of a connection.
func (t *Table) opens(c *Conn) bool {
	_, ok := t.Opening(c)
	return ok
}

// mayDrop reports whether a connection is one to drop.
func (d *Dropper) mayDrop(c *Conn, now Tick) bool {
	if c.Controls() > 0 {
		return false
	}
	if c.Has(Template) {
		return c.State() != TemplateAssured && !c.Has(OnePacket)
	}
	switch s := c.State(); c.Proto() {
	case frame.ProtoTCP:
		return s == TCPSynRecv || s == TCPSynAck || s == TCPEstablished && d.quiet(c, now, quietFor)
	case frame.ProtoSCTP:
		return s == SCTPInit1 || s == SCTPInit || s == SCTPEstablished && d.quiet(c, now, quietFor)
	}
	if d.full {
		return d.quiet(c, now, quietForFull)
	}
	return d.quiet(c, now, quietFor)
}

// quiet reports whether a connection has been idle for some time after 1 to 8
// packets and is the one in n to drop, n being its number of packets.
func (d *Dropper) quiet(c *Conn, now, idle Tick) bool {
	n := c.Packets()
	if now < c.Seen()+idle || n < 1 || n > 8 {
		return false
	}
	if d.counter[n]--; d.counter[n] > 0 {
		return false
	}
	d.counter[n] = int8(n)
	return true
}

// drop removes a connection and, if nothing else needs it, the template or
// control connection it depended on, unless that is an assured template.
func (r *Reader) drop(c *Conn, now Tick) bool {
	control := c.Control
	if !r.Remove(c, now) {
		return false
	}
	if control != 0 {
		ct := r.t.At(control)
		if !(ct.Has(Template) && ct.State() == TemplateAssured) && ct.Controls() == 0 {
			r.Remove(ct, now)
		}
	}
	return true
}
