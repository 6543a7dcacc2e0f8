package forwarder

import (
	"net/netip"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/modes"
	"uvs/sched"
)

// unbound reports whether a connection came from another director and goes to a server
// that no service here had: it is served all the same, as by IPVS.
func unbound(c *conntrack.Conn) bool {
	return c.Server == 0 && c.Has(conntrack.Synced) && c.Method() != sched.Bypass
}

// unboundModes remembers the forwarding modes of unbound connections. It belongs to one
// worker; the zero value is empty.
type unboundModes map[unboundKey]modes.Mode

type unboundKey struct {
	real     [16]byte
	source   netip.Addr
	method   sched.Method
	host     bool
	pmtuDisc bool
}

// maxUnboundModes bounds how many are remembered.
const maxUnboundModes = 1024

func (u *unboundModes) to(set *modes.Set, k unboundKey) modes.Mode {
	if m, ok := (*u)[k]; ok {
		return m
	}
	if *u == nil || len(*u) == maxUnboundModes {
		*u = unboundModes{}
	}
	m := set.To(k.method, modes.Target{Addr: netip.AddrFrom16(k.real).Unmap(), Source: k.source, Host: k.host, PMTUDisc: k.pmtuDisc})
	(*u)[k] = m
	return m
}

// toUnbound forwards a packet from the client of an unbound connection.
func (w *worker) toUnbound(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	w.advance(f, c, nil, conntrack.Request)
	if w.sync != nil {
		defer w.synchronize(c)
	}
	hop, v := w.hops.lookup(w.fw.neigh, &c.Real)
	if v != frame.Continue {
		return w.icmpHostUnreachable(f)
	}
	m := w.unbound.to(w.fw.modes, unboundKey{c.Real, hop.Source, c.Method(), hop.Local, w.sysctl.PMTUDisc != 0})
	if m == nil {
		return frame.DropUnsupported
	}
	f.Host, f.MTU = hop.Local, hop.MTU
	if f.Offload.Super() && !m.Whole() {
		return w.segments(f, c, m, hop)
	}
	if c.Has(conntrack.Helped) {
		w.helpRequest(f, c)
	}
	if v := m.Request(f, c); v != frame.Forward {
		return w.icmpForVerdict(f, v)
	}
	return w.emit(f, hop)
}
