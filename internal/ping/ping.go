// Package ping sends ICMP and ICMPv6 echo requests and reports the replies, for nodes
// without a ping of their own. It uses a ping socket if the system allows one
// (net.ipv4.ping_group_range), otherwise a raw socket.
package ping

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Config says which host to ping and how often.
type Config struct {
	Target   string
	Count    int           // 0: until ctx ends
	Interval time.Duration // between requests
	Wait     time.Duration // for the last answers
	Size     int           // bytes of data, 8 or more
}

// ErrNoAnswer says that not one request was answered.
var ErrNoAnswer = errors.New("ping: no answer")

// pinger is one run: a socket, and what has been counted.
type pinger struct {
	Config
	to       netip.Addr
	conn     *icmp.PacketConn
	raw      bool
	id       int
	sent     int
	received int
	w        io.Writer
}

// Run pings and writes a line for every answer, then a summary.
func Run(ctx context.Context, cfg Config, w io.Writer) error {
	to, err := resolve(ctx, cfg.Target)
	if err != nil {
		return err
	}
	p := &pinger{Config: cfg, to: to, id: os.Getpid() & 0xffff, w: w}
	p.Size = max(p.Size, 8)
	if err := p.open(); err != nil {
		return err
	}
	defer p.conn.Close()
	fmt.Fprintf(w, "PING %s (%s): %d data bytes\n", cfg.Target, to, p.Size)
	err = p.run(ctx)
	lost := 0
	if p.sent > 0 {
		lost = 100 * (p.sent - p.received) / p.sent
	}
	fmt.Fprintf(w, "%d packets transmitted, %d received, %d%% packet loss\n", p.sent, p.received, lost)
	if err == nil && p.received == 0 {
		err = ErrNoAnswer
	}
	return err
}

func resolve(ctx context.Context, target string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(target); err == nil {
		return a, nil
	}
	as, err := net.DefaultResolver.LookupNetIP(ctx, "ip", target)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ping: %w", err)
	}
	return as[0].Unmap(), nil
}

// open opens a ping socket or, without permission, a raw one.
func (p *pinger) open() error {
	dgram, raw, any := "udp4", "ip4:icmp", "0.0.0.0"
	if p.to.Is6() {
		dgram, raw, any = "udp6", "ip6:ipv6-icmp", "::"
	}
	var err error
	if p.conn, err = icmp.ListenPacket(dgram, any); err == nil {
		return nil
	}
	p.raw = true
	if p.conn, err = icmp.ListenPacket(raw, any); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// run sends requests on time and reads answers in between.
func (p *pinger) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for p.Count == 0 || p.sent < p.Count {
		if err := p.send(); err != nil {
			return err
		}
		wait := p.Interval
		if p.sent == p.Count {
			wait = p.Wait
		}
		if err := p.collect(ctx, time.Now().Add(wait)); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// send sends a request whose data begins with the time it left.
func (p *pinger) send() error {
	var typ icmp.Type = ipv4.ICMPTypeEcho
	if p.to.Is6() {
		typ = ipv6.ICMPTypeEchoRequest
	}
	data := make([]byte, p.Size)
	binary.BigEndian.PutUint64(data, uint64(time.Now().UnixNano()))
	m := icmp.Message{Type: typ, Body: &icmp.Echo{ID: p.id, Seq: p.sent + 1, Data: data}}
	b, err := m.Marshal(nil)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	var to net.Addr = &net.UDPAddr{IP: p.to.AsSlice(), Zone: p.to.Zone()}
	if p.raw {
		to = &net.IPAddr{IP: p.to.AsSlice(), Zone: p.to.Zone()}
	}
	p.sent++
	if _, err := p.conn.WriteTo(b, to); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// collect reads replies until the deadline, or until the last one.
func (p *pinger) collect(ctx context.Context, until time.Time) error {
	buf := make([]byte, 1<<16)
	for p.Count == 0 || p.received < p.Count {
		if ctx.Err() != nil {
			return nil
		}
		_ = p.conn.SetReadDeadline(until)
		n, from, err := p.conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		p.report(buf[:n], from)
	}
	return nil
}

// report prints a reply if it is to one of our requests. A ping socket delivers only those,
// with an identifier that the kernel chose; a raw socket delivers all.
func (p *pinger) report(b []byte, from net.Addr) {
	proto := 1
	if p.to.Is6() {
		proto = 58
	}
	m, err := icmp.ParseMessage(proto, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
		return
	}
	e, ok := m.Body.(*icmp.Echo)
	if !ok || len(e.Data) < 8 || p.raw && e.ID != p.id {
		return
	}
	took := time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(e.Data))))
	p.received++
	host, _, err := net.SplitHostPort(from.String())
	if err != nil {
		host = from.String()
	}
	fmt.Fprintf(p.w, "%d bytes from %s: icmp_seq=%d time=%.3f ms\n", len(b), host, e.Seq, float64(took.Microseconds())/1000)
}
