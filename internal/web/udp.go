package web

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// answerer makes the answer to a datagram that came to address at, or nil.
type answerer func(q []byte, at net.IP) []byte

// respond answers datagrams on a UDP address until ctx ends, over IPv4 and
// IPv6. A host without IPv6 is no error.
func respond(ctx context.Context, address string, answer answerer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c4, err := net.ListenPacket("udp4", address)
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	defer c4.Close()
	stop := context.AfterFunc(ctx, func() { c4.Close() })
	defer stop()
	if c6, err := net.ListenPacket("udp6", address); err == nil {
		defer c6.Close()
		go func() { _ = respond6(c6, answer) }()
	}
	err = respond4(c4, answer)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("web: %w", err)
}

// respond4 answers from the address to which the query was sent, as a server with several
// addresses must: behind a director that address is the VIP on lo, not the one that the
// route to the client would choose (ip(7), IP_PKTINFO).
func respond4(c net.PacketConn, answer answerer) error {
	p := ipv4.NewPacketConn(c)
	if err := p.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for {
		n, cm, from, err := p.ReadFrom(buf)
		if err != nil {
			return err
		}
		if a := answer(buf[:n], cm.Dst); a != nil {
			// An error concerns this client only.
			_, _ = p.WriteTo(a, &ipv4.ControlMessage{Src: cm.Dst}, from)
		}
	}
}

// respond6 is respond4 for IPv6 (ipv6(7), IPV6_PKTINFO).
func respond6(c net.PacketConn, answer answerer) error {
	p := ipv6.NewPacketConn(c)
	if err := p.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for {
		n, cm, from, err := p.ReadFrom(buf)
		if err != nil {
			return err
		}
		if a := answer(buf[:n], cm.Dst); a != nil {
			_, _ = p.WriteTo(a, &ipv6.ControlMessage{Src: cm.Dst}, from)
		}
	}
}

func echo(q []byte, _ net.IP) []byte { return q }

// dns answers a query: TXT is the server's name, A and AAAA the address to which the query
// was sent. Anything else gets no answer.
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
