package forwarder

import (
	"fmt"
	"net"
	"net/netip"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// headers are the fields of a packet that modes change.
type headers struct {
	dstMAC, srcMAC [6]byte
	src, dst       netip.Addr
	sport, dport   uint16
	ttl            uint8
	proto          uint8
	length         int // bytes from the IP header on
}

// headersOf reads them from a frame that has been parsed. They are zero for anything
// but an IP packet, and for a fragment without ports.
func headersOf(f *frame.Frame) (h headers) {
	if f.Len() < frame.EthernetLen {
		return h
	}
	e := f.Ethernet()
	h.dstMAC, h.srcMAC = [6]byte(e[:6]), [6]byte(e[6:12])
	if !f.Is4() && !f.Is6() {
		return h
	}
	ip, l4 := f.L3(), 40
	h.length = f.L3Len()
	if ip[0]>>4 == 4 {
		h.ttl, h.proto, l4 = ip[8], ip[9], int(ip[0]&15)*4
		h.src, h.dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	} else {
		h.ttl, h.proto = ip[7], ip[6]
		h.src, h.dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	}
	if f.Info.HasPorts && len(ip) >= l4+4 {
		h.sport, h.dport = uint16(ip[l4])<<8|uint16(ip[l4+1]), uint16(ip[l4+2])<<8|uint16(ip[l4+3])
	}
	return h
}

// changes compares the packet with what came in.
func (r *record) changes(f *frame.Frame) []config.Change {
	b, a := &r.before, headersOf(f)
	mac := func(m [6]byte) string { return net.HardwareAddr(m[:]).String() }
	all := []config.Change{
		{Field: "eth.src", Before: mac(b.srcMAC), After: mac(a.srcMAC)},
		{Field: "eth.dst", Before: mac(b.dstMAC), After: mac(a.dstMAC)},
	}
	if r.known && r.method.Encapsulates() {
		return append(all,
			config.Change{Field: "outer.src", After: a.src.String()},
			config.Change{Field: "outer.dst", After: a.dst.String()},
			config.Change{Field: "ip.dst", Before: b.dst.String(), After: b.dst.String(), Note: "so the server must own the VIP"})
	}
	all = append(all,
		config.Change{Field: "ip.ttl", Before: fmt.Sprint(b.ttl), After: fmt.Sprint(a.ttl)},
		config.Change{Field: "ip.src", Before: b.src.String(), After: a.src.String()},
		config.Change{Field: "ip.dst", Before: b.dst.String(), After: a.dst.String()},
		config.Change{Field: "sport", Before: fmt.Sprint(b.sport), After: fmt.Sprint(a.sport)},
		config.Change{Field: "dport", Before: fmt.Sprint(b.dport), After: fmt.Sprint(a.dport)})
	return r.traceHints(all)
}

// traceHints leaves of what did not change only what one should notice.
func (r *record) traceHints(all []config.Change) []config.Change {
	notes := map[string]string{}
	if r.known && r.method.Direct() && !r.method.Encapsulates() {
		notes["ip.dst"], notes["dport"] = "so the server must own the VIP, silently", "direct routing cannot map ports"
	}
	if r.known && r.method.Masquerades() && !r.reply {
		notes["ip.src"] = "so the server sees the client"
	}
	kept := all[:0]
	for _, c := range all {
		if c.Before == c.After {
			if c.Note = notes[c.Field]; c.Note == "" {
				continue
			}
		}
		kept = append(kept, c)
	}
	return kept
}

func super(f *frame.Frame) string {
	if f.Offload.Super() {
		return ", several segments in one"
	}
	return ""
}
