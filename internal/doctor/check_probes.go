package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/sched"
)

func init() {
	checks = append(checks, checkProbes)
}

// Answers are what real servers answered that were asked once.
type Answers struct {
	States []config.CheckState `json:"states"`
	// Left is how many services were not asked, because there was no time.
	Left int `json:"left,omitempty"`
}

// probeTime is how long all servers together are asked.
const probeTime = 10 * time.Second

// asked is a director as Probe needs it.
type asked interface {
	Services(context.Context) ([]config.ServiceState, error)
	CheckNow(context.Context, config.CheckNow) ([]config.CheckState, error)
}

// Probe asks each real server of each TCP service once, through the virtual address and as
// packets of clients travel (docs/check.md). Nothing of it is counted or scheduled. One that
// does not answer is asked again. It takes some seconds if a server is silent, 10 at most.
func Probe(ctx context.Context, socket string) (Answers, error) {
	return probe(ctx, client.New(socket))
}

func probe(ctx context.Context, d asked) (all Answers, err error) {
	services, err := d.Services(ctx)
	if err != nil {
		return all, err
	}
	services = slices.DeleteFunc(services, func(s config.ServiceState) bool { return s.Proto != config.TCP || s.Port == 0 })
	limited, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	for i := range services {
		ask := config.CheckNow{Service: &services[i].Key, Check: &config.Check{Kind: config.CheckTCP}}
		got, err := d.CheckNow(limited, ask)
		if err == nil && slices.ContainsFunc(got, func(s config.CheckState) bool { return !s.VIP.OK }) {
			got, err = d.CheckNow(limited, ask)
		}
		switch {
		case err != nil && limited.Err() != nil && ctx.Err() == nil:
			all.Left = len(services) - i
			return all, nil
		case err != nil:
			return all, err
		}
		all.States = append(all.States, got...)
	}
	return all, nil
}

// Probed adds what Probe returned on the director's host to the scene.
func (s *Scene) Probed(all Answers, err error) {
	h := s.director()
	if err == nil && all.Left > 0 {
		err = fmt.Errorf("%d services were not asked within %v", all.Left, probeTime)
	}
	h.unseen("answers of servers", err)
	h.Director.Probes = all.States
}

// Probes reports whether it is worth while to ask the servers: the director has the virtual
// addresses, and nothing found so far explains why they would not answer.
func (s *Scene) Probes(r *Report) bool {
	d := s.director().Director
	return d != nil && len(d.Silent) == 0 && r.Status() < 2
}

// checkProbes judges servers that did not answer through the virtual address.
func checkProbes(s *Scene) (found []Finding) {
	h := s.director()
	if h.Director == nil {
		return nil
	}
	for i := range h.Director.Probes {
		p := &h.Director.Probes[i]
		at := h
		if o := s.owner(p.Server.Addr()); s.Lab != nil && o != nil {
			at = o
		}
		if p.VIP.OK || p.Weight == 0 {
			continue
		}
		code := s.probed(p)
		f := find(code, Error, at, fmt.Sprintf("%s does not serve %s", p.Server, p.Service.String()),
			fmt.Sprintf("asked by the director: %s", p.Result),
			fmt.Sprintf("through %s: %s; at its own address: %s", p.Service.Addr, answerOf(p.VIP), answerOf(p.Own)))
		f.guess = true
		on, command := s.cure(code, p)
		found = append(found, f.fixed(on, command))
	}
	return found
}

func answerOf(r config.ProbeResult) string {
	if r.OK {
		return "it answers"
	}
	return r.Answer
}

// probed returns the likeliest code for a server that was asked.
func (s *Scene) probed(p *config.CheckState) string {
	refused := strings.Contains(p.VIP.Answer, "refused") || strings.Contains(p.VIP.Answer, "reset")
	mac, failed := s.director().known(p.Server.Addr())
	switch {
	case refused && p.Own.OK:
		return ListensOnRIP
	case refused && methodOf(p).Direct() && s.servesAtAnotherPort(p):
		return PortMap
	case refused:
		return NoListener
	case strings.Contains(p.Own.Answer, "unreachable") && mac != "" && !failed:
		return Firewall // it is there, and says so by ICMP
	case !p.Own.OK:
		return Unanswered
	}
	switch methodOf(p) {
	case sched.Route:
		return VIPMissing
	case sched.Tunnel:
		return NoDecap
	case sched.FullNAT:
		return LocalAddress
	}
	return NoReturn
}

// servesAtAnotherPort reports whether the same server answered at another port.
func (s *Scene) servesAtAnotherPort(p *config.CheckState) bool {
	return slices.ContainsFunc(s.director().Director.Probes, func(o config.CheckState) bool {
		return o.Server.Addr() == p.Server.Addr() && o.Server.Port() != p.Server.Port() && o.VIP.OK
	})
}

func methodOf(p *config.CheckState) (m sched.Method) {
	_ = m.UnmarshalText([]byte(p.Method))
	return m
}

// cure is the command for a code, and where to type it.
func (s *Scene) cure(code string, p *config.CheckState) (on, command string) {
	on = p.Server.Addr().String()
	switch code {
	case VIPMissing:
		return on, fmt.Sprintf("%s addr add %s dev lo", ip(p.Service.Addr), single(p.Service.Addr))
	case NoDecap:
		return on, "uvs decap"
	case PortMap:
		return s.director().Name, "ipvsadm -D " + p.Service.String()
	case Firewall:
		return on, "nft -a list ruleset"
	case NoReturn:
		if gateway := s.director().beside(p.Server.Addr()); gateway.IsValid() {
			return on, fmt.Sprintf("%s route replace default via %s", ip(gateway), gateway)
		}
	case LocalAddress:
		return on, fmt.Sprintf("%s route get %s", ip(p.Server.Addr()), s.director().Ways[p.Server.Addr().String()].Source)
	}
	return on, fmt.Sprintf("ss -ltnp 'sport = :%d'", p.Server.Port())
}
