// Package check asks real servers whether they serve: with ordinary clients, to the
// virtual address and by each server's forwarding method, and to the server's own address
// beside that. Only a director can ask in the first way, and only so can be seen that a
// server has lost the virtual address, does not open the tunnel, or answers past the
// director.
//
// A Probe is one question on both paths. A Runner repeats the questions of all checks of a
// director, keeps what they found, and holds servers that are down where a check says so.
//
// The package opens sockets of the host. That a connection travels to one given server is
// the business of the Director, which the forwarder is.
package check

import (
	"context"
	"net/netip"
	"time"

	"uvs/forwarder/config"
	"uvs/sched"
)

// Director is what probes need of the engine. All methods are safe for concurrent use.
type Director interface {
	// OpenProbe sends a flow of the host to a real server, as Forwarder.OpenProbe.
	OpenProbe(k config.Key, server netip.AddrPort, proto config.Proto, from, to netip.AddrPort) (end func(), err error)
	// ProbeSource returns the address of the host that asks a server for a virtual address,
	// or for its own; the zero Addr if there is none.
	ProbeSource(server, virtual netip.Addr, m sched.Method) netip.Addr
	// AskARP asks a server by ARP for a virtual address, at its own hardware address.
	AskARP(server, virtual netip.Addr)
	// AnsweredARP returns when the server last answered that, the zero Time if never.
	AnsweredARP(server, virtual netip.Addr) time.Time
	// Hold keeps new connections from these servers of a service and no others, and returns
	// those for which that is a change.
	Hold(k config.Key, held map[netip.AddrPort]bool) ([]config.Server, error)
}

// Probe is one question to a server of a service.
type Probe struct {
	Key    config.Key
	Server config.Server
	Check  config.Check // with its defaults
}

// Answer is what a Probe found.
type Answer struct {
	VIP, Own   config.ProbeResult
	AnswersARP bool
}

// Ask asks on both paths at once. It returns when both have answered or failed, at the
// latest after the check's timeout.
func (p *Probe) Ask(ctx context.Context, d Director) Answer {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.Check.Timeout)*time.Millisecond)
	defer cancel()
	target := p.Check.Target(p.Key)
	if p.asksARP() {
		d.AskARP(p.Server.Addr, target.Addr())
	}
	own := make(chan config.ProbeResult, 1)
	go func() { own <- p.ask(ctx, p.ownAddr(), direct(d)) }()
	vip := p.ask(ctx, target, p.via(d))
	a := Answer{VIP: vip, Own: <-own}
	if p.asksARP() {
		fresh := 2*time.Duration(p.Check.Interval)*time.Millisecond + time.Duration(p.Check.Timeout)*time.Millisecond
		last := d.AnsweredARP(p.Server.Addr, target.Addr())
		a.AnswersARP = !last.IsZero() && time.Since(last) < fresh
	}
	return a
}

// asksARP reports whether the server must not answer ARP for the virtual address: it has
// the address, and shares a network with the director.
func (p *Probe) asksARP() bool { return p.Server.Method == sched.Route && p.Server.Addr.Is4() }

// ownAddr returns the server's own address and port.
func (p *Probe) ownAddr() netip.AddrPort {
	if p.Server.Port == 0 {
		return netip.AddrPortFrom(p.Server.Addr, p.Check.Target(p.Key).Port())
	}
	return p.Server.AddrPort()
}

// State returns what an answer says about a server, as far as it follows from it alone.
func (p *Probe) State(a *Answer) config.CheckState {
	s := config.CheckState{
		Service: p.Key, Server: p.Server.AddrPort(), Method: p.Server.Method.Traits().Word,
		Check: p.Check, Weight: p.Server.Weight, State: down,
		VIP: a.VIP, Own: a.Own, AnswersARP: a.AnswersARP, Result: p.words(a),
	}
	if a.VIP.OK {
		s.State = up
	}
	return s
}

// States of a server.
const (
	unknown = "unknown"
	up      = "up"
	down    = "down"
)
