package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"uvs/forwarder/config"
)

func init() {
	checks = append(checks, checkAnswers, checkRefusals, checkPathMTU, checkDropped)
}

// few is how many packets of a kind have to be seen before their absence of an answer says
// something.
const few = 3

// checkAnswers compares, for servers whose replies come back through the director, the SYNs
// that went there with the answers.
func checkAnswers(s *Scene) (found []Finding) {
	h := s.director()
	for _, t := range s.targets() {
		if !t.server.Method.Translates() {
			continue
		}
		at := t.server.AddrPort()
		answers := h.Sight.count(func(p *Sighting) bool { return p.Kind == "syn-ack" && p.From == at })
		resets := h.Sight.count(func(p *Sighting) bool { return p.Kind == "rst" && p.From == at })
		var gain Gain
		if h.Director != nil {
			gain = h.Director.Gained[serverName(t.service, t.server)]
		}
		switch opening, open := s.handshakes(&t); {
		case resets >= few && answers == 0:
			found = append(found, find(NoListener, Error, s.at(&t), fmt.Sprintf("%s refuses connections", at),
				fmt.Sprintf("%d RSTs and no SYN-ACK came from %s in %.1f s", resets, at, h.Sight.Seconds)).
				fixed(at.Addr().String(), "ss -ltn"))
		case gain.Conns >= few && gain.OutPkts == 0 && answers == 0:
			found = append(found, s.silent(&t, fmt.Sprintf("%d new connections to %s in %.1f s: %d packets went there, none came back",
				gain.Conns, at, h.Sight.Seconds, gain.InPkts)))
		case opening > 1 && open == 0 && answers == 0 && s.Lab == nil:
			found = append(found, s.silent(&t, fmt.Sprintf("%d connections to %s wait in SYN_RECV, none is further", opening, at)))
		}
	}
	return found
}

// at returns the host of a server, or the director's if it is not one of the scene's.
func (s *Scene) at(t *target) *Host {
	if t.host != nil {
		return t.host
	}
	return s.director()
}

// handshakes counts a server's connections whose handshake has taken some seconds, and those
// that are further.
func (s *Scene) handshakes(t *target) (opening, open int) {
	for _, c := range s.director().connections() {
		switch {
		case c.Server != t.server.AddrPort() || c.Template || c.Proto != config.TCP:
		case c.State == "SYN_RECV":
			const timeout, patience = 60_000, 2_000 // milliseconds; ip_vs_proto_tcp.c
			if c.Expires < timeout-patience {
				opening++
			}
		default:
			open++
		}
	}
	return opening, open
}

// silent is the finding about a server that gets SYNs and does not answer through the
// director.
func (s *Scene) silent(t *target, evidence string) Finding {
	h, a := s.director(), t.server.Addr
	for _, c := range h.connections() {
		w := h.Ways[c.Client.Addr().String()]
		if c.Server == t.server.AddrPort() && t.server.Method.Masquerades() && s.together(c.Client.Addr(), a) && !w.Local {
			f := find(SameSubnet, Error, s.at(t), fmt.Sprintf("%s reaches the client %s directly", a, c.Client.Addr()), evidence,
				fmt.Sprintf("%s and %s are both on %s of the director", c.Client.Addr(), a, w.Link))
			f.guess = true
			return f.fixed(h.Name, fmt.Sprintf("ipvsadm -e %s -r %s --fullnat", key(t.service), t.server.AddrPort()))
		}
	}
	f := find(NoReturn, Error, s.at(t), fmt.Sprintf("replies of %s do not come back through the director", t.server.AddrPort()), evidence)
	f.guess = true
	if gateway := h.beside(a); gateway.IsValid() {
		return f.fixed(a.String(), fmt.Sprintf("%s route replace default via %s", ip(a), gateway))
	}
	return f.fixed(a.String(), fmt.Sprintf("%s route get %s", ip(a), t.service.Addr))
}

// beside returns the host's address in the network of another address.
func (h *Host) beside(a netip.Addr) netip.Addr {
	for _, own := range h.Addresses {
		if own.Prefix.Contains(a) && !own.Prefix.IsSingleIP() {
			return own.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

// together reports whether two addresses are in one network of an interface of the director.
func (s *Scene) together(a, b netip.Addr) bool {
	for _, own := range s.director().Addresses {
		if own.Prefix.Contains(a) && own.Prefix.Contains(b) {
			return true
		}
	}
	return false
}

// checkRefusals reads what servers and routers say by ICMP.
func checkRefusals(s *Scene) (found []Finding) {
	h := s.director()
	for i := range h.Sight.Seen {
		p := &h.Sight.Seen[i]
		if p.Sent || p.Count < 2 || !strings.HasPrefix(p.Kind, "icmp 3/") {
			continue
		}
		for _, t := range s.targets() {
			if p.From.Addr() != t.server.Addr {
				continue
			}
			evidence := fmt.Sprintf("%s sent %d ICMP messages of type and code %s in %.1f s", t.server.Addr, p.Count, p.Kind[5:], h.Sight.Seconds)
			switch p.Kind[7:] {
			case "2":
				found = append(found, find(NoDecap, Error, s.at(&t), fmt.Sprintf("nobody on %s takes packets out of the tunnel", t.server.Addr), evidence).
					fixed(t.server.Addr.String(), "uvs decap"))
			case "9", "10", "13":
				found = append(found, find(Firewall, Error, s.at(&t), fmt.Sprintf("a packet filter on %s rejects packets of %s", t.server.Addr, key(t.service)), evidence).
					fixed(t.server.Addr.String(), "nft -a list ruleset"))
			}
			break
		}
	}
	return found
}

// checkPathMTU looks for routers that say again and again that packets are too big for the
// way to a server.
func checkPathMTU(s *Scene) (found []Finding) {
	h := s.director()
	for i := range h.Sight.Seen {
		p := &h.Sight.Seen[i]
		if p.Sent || p.Kind != "icmp 3/4" || p.Count < few {
			continue
		}
		found = append(found, find(MTU, Warning, h, fmt.Sprintf("packets are too big for the way behind %s", p.From.Addr()),
			fmt.Sprintf("%s said so %d times in %.1f s, by ICMP 3/4 to %s", p.From.Addr(), p.Count, h.Sight.Seconds, p.To.Addr())).
			fixed(h.Name, "tracepath -n "+p.From.Addr().String()))
	}
	return found
}

// dropped are verdicts that speak of a mistake of a kind that has a code.
var dropped = []struct{ verdict, code, summary string }{
	{"drop-rp-filter", RPFilter, "the director's rp_filter drops packets"},
	{"drop-no-neighbour", NoNeighbour, "a next hop does not answer"},
	{"drop-no-route", NoNeighbour, "there is no route to a next hop"},
	{"drop-no-local-port", LocalAddress, "the local addresses have no free port"},
	{"drop-overload", DropRate, "the director drops on purpose"},
	{"drop-send", Firewall, "an egress chain, or the kernel, refuses frames of the director"},
}

// checkDropped reports verdicts that rose while packets were looked at and that no other
// check explains.
func checkDropped(s *Scene) (found []Finding) {
	h := s.director()
	if h.Director == nil {
		return nil
	}
	for _, d := range dropped {
		if n := h.Director.Rose[d.verdict]; n > 0 {
			found = append(found, find(d.code, Warning, h, d.summary,
				fmt.Sprintf("%s rose by %d in %.1f s", d.verdict, n, h.Sight.Seconds)).fixed(h.Name, "uvs explain code "+d.verdict))
		}
	}
	return found
}
