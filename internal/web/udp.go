package web

import (
	"net"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// datagrams answers from the address that was asked, as a server with several
// addresses must: behind a director that address is the VIP on lo, not the
// one the route to the client would choose (ip(7), IP_PKTINFO).
type datagrams struct {
	conn *net.UDPConn
	v6   *ipv6.PacketConn
	v4   *ipv4.PacketConn // set if the socket is IPv4 only
}

func newDatagrams(c *net.UDPConn) *datagrams {
	d := &datagrams{conn: c}
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok && a.IP.To4() != nil {
		d.v4 = ipv4.NewPacketConn(c)
		_ = d.v4.SetControlMessage(ipv4.FlagDst, true)
		return d
	}
	d.v6 = ipv6.NewPacketConn(c)
	_ = d.v6.SetControlMessage(ipv6.FlagDst, true)
	return d
}

func (d *datagrams) read(b []byte) (n int, from net.Addr, at net.IP, err error) {
	if d.v4 != nil {
		n, cm, from, err := d.v4.ReadFrom(b)
		if cm != nil {
			at = cm.Dst
		}
		return n, from, at, err
	}
	n, cm, from, err := d.v6.ReadFrom(b)
	if cm != nil {
		at = cm.Dst
	}
	return n, from, at, err
}

func (d *datagrams) write(b []byte, to net.Addr, from net.IP) error {
	if d.v4 != nil {
		_, err := d.v4.WriteTo(b, &ipv4.ControlMessage{Src: from}, to)
		return err
	}
	_, err := d.v6.WriteTo(b, &ipv6.ControlMessage{Src: from}, to)
	return err
}

// dns answers a query: TXT is the server's name, A and AAAA the address that
// was asked. What is not a query gets no answer.
func (cfg Config) dns(query []byte, at net.IP) []byte {
	var q dnsmessage.Message
	if err := q.Unpack(query); err != nil || q.Response || len(q.Questions) == 0 {
		return nil
	}
	a := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.ID, Response: true, Authoritative: true, RecursionDesired: q.RecursionDesired},
		Questions: q.Questions,
	}
	h := dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1}
	switch q.Questions[0].Type {
	case dnsmessage.TypeTXT:
		a.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{cfg.Name}}}}
	case dnsmessage.TypeA:
		if ip := at.To4(); ip != nil {
			a.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte(ip)}}}
		}
	case dnsmessage.TypeAAAA:
		if ip := at.To16(); ip != nil && at.To4() == nil {
			a.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}}}
		}
	}
	b, err := a.Pack()
	if err != nil {
		return nil
	}
	return b
}
