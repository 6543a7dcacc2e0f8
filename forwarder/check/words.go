package check

import (
	"uvs/forwarder/config"
	"uvs/sched"
)

// words says what the answers on both paths mean together.
func (p *Probe) words(a *Answer) string {
	switch {
	case p.Check.Kind == config.CheckPassive:
		return a.VIP.Answer
	case a.VIP.OK && a.AnswersARP:
		return "server answers on the VIP, but answers ARP for it too: clients may reach it past the director (arp_ignore=1, arp_announce=2)"
	case a.VIP.OK && a.Own.OK:
		return "server answers on the VIP (" + a.VIP.Answer + ")"
	case a.VIP.OK:
		return "server answers on the VIP, not on its own address (" + a.Own.Answer + ")"
	case a.Own.OK:
		return "server answers on its own address, not on the VIP (" + a.VIP.Answer + "): " + p.cause()
	case a.VIP.Answer == a.Own.Answer:
		return "server answers neither on its own address nor on the VIP (" + a.VIP.Answer + ")"
	}
	return "server answers neither on its own address (" + a.Own.Answer + ") nor on the VIP (" + a.VIP.Answer + ")"
}

// cause says what usually keeps a server from answering on the virtual address only.
func (p *Probe) cause() string {
	switch m := p.Server.Method; {
	case m == sched.Route:
		return "the VIP is missing on its lo, or nothing listens there"
	case m.Encapsulates():
		return "the tunnel is closed, or the VIP is missing behind it"
	case m.NeedsLocal():
		return "its answers to the director's local address do not come back"
	case m.Masquerades():
		return "its answers do not pass the director: is that its gateway?"
	}
	return "it is not reached by its forwarding method"
}
