package conntrack

import (
	"sync/atomic"

	"uvs/forwarder/frame"
)

// Expected returns the connection that an application helper announced without
// knowing the client's port (NoClientPort) and that flow f would open, or nil.
// Ask it for a flow that Lookup did not find. The Reader must have entered.
func (r *Reader) Expected(f *frame.Flow) *Conn {
	if r.t.expected.Load() == 0 {
		return nil
	}
	any := *f
	any.SetPorts(0, f.DstPort())
	c, isReply := r.Lookup(&any)
	if c == nil || isReply || !c.Has(NoClientPort) {
		return nil
	}
	return c
}

// Complete gives an expected connection its client port: a new entry takes c's
// place in the table, with c's state, counts and control. Gone is called for
// neither. It returns nil if c has ended or been completed already, or if the
// table is full.
func (r *Reader) Complete(c *Conn, port uint16, now Tick) *Conn {
	if !c.close() {
		return nil
	}
	n := Conn{
		Client: c.Client, Virtual: c.Virtual, Real: c.Real, Local: c.Local,
		ClientPort: port, VirtualPort: c.VirtualPort, RealPort: c.RealPort, LocalPort: c.LocalPort,
		Server: c.Server, Control: c.Control,
		status:  atomic.LoadUint32(&c.status) &^ (uint32(NoClientPort) << flagShift),
		timeout: uint32(c.Timeout()),
	}
	kept, inserted := r.Insert(&n, now)
	r.t.detach(uint32(r.t.Ref(c)), !inserted)
	if !inserted {
		return nil
	}
	return kept
}
