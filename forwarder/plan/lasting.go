package plan

import (
	"maps"
	"net/netip"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
)

// followLocals accounts for the local addresses of FULLNAT that only connections use.
func (p *Plan) followLocals(used map[[16]byte]bool) {
	p.replace(&p.lasts, nil)
	p.lasting = map[[16]byte]bool{}
	var fs facts
	for a := range used {
		local := fact{kind: factLocal, addr: netip.AddrFrom16(a).Unmap()}
		if !p.has(local) {
			p.lasting[a] = true
			fs = append(fs, local, fact{kind: factAnswered, addr: local.addr})
		}
	}
	p.replace(&p.lasts, fs)
}

// followLeft accounts for what the guard has to keep from the host only for
// connections. Other packets to the same endpoints are delivered.
func (p *Plan) followLeft(all map[service.Leftover]bool) {
	if maps.Equal(all, p.left) {
		return
	}
	var fs facts
	for l := range all {
		switch {
		case l.Key.Mark != 0:
		case l.Data:
			fs = append(fs, fact{kind: factFTP, addr: l.Key.Addr})
		default:
			fs.addRequests(uint8(l.Key.Proto), l.Key.Addr, l.Key.Port)
		}
	}
	p.replace(&p.leaves, fs)
}

// guardedMarks also passes to the guard the rules whose mark only connections have, and
// omits those at the end that lead to nothing.
func (p *Plan) guardedMarks(rules []service.MarkRule) []service.MarkRule {
	for i := range rules {
		r := &rules[i]
		r.Left = !r.Served && r.Mark != 0 && p.left[service.Leftover{Key: config.Key{Mark: r.Mark, Family: r.AF}}]
		r.Served = r.Served || r.Left
	}
	for len(rules) > 0 && !rules[len(rules)-1].Served {
		rules = rules[:len(rules)-1]
	}
	return rules
}

// Leaves reports whether the guard keeps a packet from the host only because of
// connections to which it does not belong.
func (s *View) Leaves(f *frame.Flow) bool {
	if len(s.left) == 0 {
		return false
	}
	at := config.Key{Proto: config.Proto(f.Proto()), Addr: f.Dst()}.Normal()
	if any := (service.Leftover{Key: at}); s.left[any] {
		return true
	}
	ftp := service.Leftover{Key: at, Data: true}
	ftp.Key.Port, at.Port = service.FTPPort, f.DstPort()
	if s.left[service.Leftover{Key: at}] || isFTPData(f) && s.left[ftp] {
		return true
	}
	for i := range s.marks {
		if r := &s.marks[i]; r.Matches(f) {
			return r.Left
		}
	}
	return false
}

// isFTPData reports whether a flow may be one of FTP's data connections to a
// persistent service.
func isFTPData(f *frame.Flow) bool {
	return f.Proto() == frame.ProtoTCP && (f.DstPort() == service.FTPDataPort || f.DstPort() >= service.UnprivilegedPorts)
}

// Misses reports whether a local address in use is not covered, or one is covered
// only for connections that have ended.
func (s *View) Misses(used map[[16]byte]bool) bool {
	for a := range s.lasting {
		if !used[a] {
			return true
		}
	}
	for a := range used {
		if !s.owned.has(a) && !s.shared.has(a) {
			return true
		}
	}
	return false
}

// KnowsLeft reports whether the view is up to date with what connections have left.
func (s *View) KnowsLeft(all map[service.Leftover]bool) bool { return maps.Equal(s.left, all) }
