package conntrack

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"uvs/forwarder/frame"
)

// Tag distinguishes templates of the same flow by what else ties a client to a
// server: a digest of SIP's Call-ID. The zero Tag means nothing else. It is stored
// in the template's Local, which a template does not need.
type Tag = [16]byte

// TemplateFlow returns the flow of the template that ties connections like f to
// one server. The client's address is masked with mask, in the form of a Flow;
// port is the service's port, or 0 if one template covers all ports (port 0
// services, FTP).
func TemplateFlow(f *frame.Flow, mask *[16]byte, port uint16) frame.Flow {
	t := *f
	for i, m := range mask {
		t[i] &= m // a Flow begins with the source
	}
	t.SetPorts(0, port)
	return t
}

// MarkTemplateFlow returns the flow of the template for a firewall-mark service:
// protocol 0, the mark in place of the virtual address, no ports. So one template
// covers all connections with the mark.
func MarkTemplateFlow(f *frame.Flow, mask *[16]byte, mark uint32) frame.Flow {
	t := TemplateFlow(f, mask, 0)
	t.SetDst(MarkAddr(mark, f.Is4()))
	t.SetProto(0)
	return t
}

// MarkAddr returns the address that stands for a firewall mark in templates and
// their listing: 0.0.0.77 for mark 77, its bytes first in an IPv6 address.
func MarkAddr(mark uint32, is4 bool) netip.Addr {
	var a [16]byte
	binary.BigEndian.PutUint32(a[:], mark)
	if is4 {
		return netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrFrom16(a)
}

// Renew restarts the timeout of a template, for a new connection that it controls
// (ip_vs_conn.c, ip_vs_conn_put). The timeout itself does not change, even if the
// service's did.
func (r *Reader) Renew(c *Conn, now Tick) { atomic.StoreUint32(&c.seen, uint32(now)) }

// Invalidate hides a template from lookups, because its server is gone or takes no
// new clients. The template and the connections it controls stay until they
// expire; listings show it with port 65535 (ip_vs_conn.c, ip_vs_check_template).
// Invalidate reports false if it was invalid already.
func (r *Reader) Invalidate(c *Conn) bool {
	const bit = uint32(Invalid) << flagShift
	return atomic.OrUint32(&c.status, bit)&bit == 0
}

// tag returns the tag of a template, nil for a connection.
func (c *Conn) tag() *Tag {
	if c.Has(Template) {
		return &c.Local
	}
	return nil
}

// fold mixes a tag into a seed for hashes; the zero Tag changes nothing.
func fold(t *Tag) uint64 {
	return binary.LittleEndian.Uint64(t[:8]) ^ binary.LittleEndian.Uint64(t[8:])
}
