package forwarder

import (
	"net/netip"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// options judges the IP options of a packet, which has some. Invalid options are
// answered with an ICMP parameter problem, source routes are handled according to
// accept_source_route (ip_input.c, ip_rcv_options; ip_options.c, ip_options_rcv_srr).
// What the host receives too, it judges itself.
func (w *worker) options(f *frame.Frame, found conntrack.Found) frame.Verdict {
	if !w.onlyOurs(f, found) {
		return frame.Continue
	}
	o := f.Options()
	switch {
	case o.Bad != 0:
		return w.parameterProblem(f, 0, o.Bad)
	case o.Route == 0:
		w.recordRoute(f, &o, found)
		return frame.Continue
	case !w.fw.neigh.SourceRouted(w.link.Index):
		return frame.DropSourceRoute
	case found.Reply && o.Strict:
		return w.parameterProblem(f, 0, destinationAt) // the next hop of its source route should have been this host
	case found.Reply || o.Done:
		w.recordRoute(f, &o, found)
		return frame.Continue
	}
	return frame.DropSourceRoute // its source route leads elsewhere than to a server
}

// recordRoute adds the host's entries to a record route and timestamps: of a request by the
// address it was for, of a reply by the virtual address and, with its time, that of the
// interface towards the server. A datagram in fragments gets them when it is whole.
func (w *worker) recordRoute(f *frame.Frame, o *frame.Options, found conntrack.Found) {
	if !o.Records() || f.Info.Fragment {
		return
	}
	at := w.fw.started.Add(w.clock).UTC()
	p := frame.OptionEntries{Time: uint32(at.Sub(at.Truncate(24 * time.Hour)).Milliseconds())}
	if own := w.ownAddress(f); own.Is4() {
		p.Route, p.Stamp = own.As4(), own.As4()
	}
	if c := found.Conn; found.Reply && c.VirtualAddr().Addr().Is4() {
		p.Route = c.VirtualAddr().Addr().As4()
	}
	if a, ok := f.Prescribed(o); ok {
		p.Prescribed = w.conf.Owns(netip.AddrFrom4(a).As16()) || w.fw.neigh.LocalAddr(netip.AddrFrom4(a))
	}
	f.FillOptions(o, &p)
}

// destinationAt is the offset of the destination in an IPv4 header.
const destinationAt = 16

// hopOptions judges the hop-by-hop options of an IPv6 packet (exthdrs.c,
// ipv6_parse_hopopts). What the host gets, too, it judges itself.
func (w *worker) hopOptions(f *frame.Frame, found conntrack.Found) frame.Verdict {
	if !w.onlyOurs(f, found) {
		return frame.Continue
	}
	fault := f.HopOptions()
	switch {
	case !fault.Invalid:
		return frame.Continue
	case !fault.Tell:
		return frame.DropIPOptions
	}
	return w.parameterProblem(f, fault.Code, fault.At)
}

// parameterProblem tells the sender which byte of its headers is invalid.
func (w *worker) parameterProblem(f *frame.Frame, code uint8, at int) frame.Verdict {
	return w.sendICMPError(f, frame.DropIPOptions, func(out *frame.Frame, buf []byte) bool {
		return modes.ParameterProblem(out, buf, f, w.ownAddress(f), code, at, w.nextID16())
	})
}

// onlyOurs reports whether the director is the only one that gets a packet: the guard
// keeps it from the host, or the host does not have its destination.
func (w *worker) onlyOurs(f *frame.Frame, found conntrack.Found) bool {
	if found.Conn != nil || w.conf.Owns(f.Flow.Dst16()) {
		return true
	}
	flow := f.Flow
	if f.Info.Fragment {
		var first bool
		if flow, first = f.FragmentPorts(); !first {
			return w.conf.Concerns(&f.Flow) // no error about a later fragment
		}
	} else if quoted, ok := modes.Embedded(f); ok { // nor of an ICMP error
		flow = quoted.Reverse()
		c, _ := w.reader.Lookup(&flow)
		return c != nil
	}
	return w.conf.Guarded(&flow) || w.services.Match(&flow, w.conf.Mark(&flow)) != nil
}
