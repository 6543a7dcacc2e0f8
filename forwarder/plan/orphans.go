package plan

import (
	"maps"
	"net/netip"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
)

// followLocals accounts for the local addresses of FULLNAT that only connections use. What
// another director alone has given out (a false value) is not answered for.
func (p *Plan) followLocals(used map[[16]byte]bool) {
	p.replace(&p.ofOldLocals, nil)
	p.oldLocals = map[[16]byte]bool{}
	var fs facts
	for a, own := range used {
		local := fact{kind: factLocal, addr: netip.AddrFrom16(a).Unmap()}
		if !p.has(local) {
			p.oldLocals[a] = own
			if fs = append(fs, local); own {
				fs = append(fs, fact{kind: factAnswered, addr: local.addr})
			}
		}
	}
	p.replace(&p.ofOldLocals, fs)
}

// followOrphans accounts for endpoints that only connections have, no service any more.
// The guard drops what arrives for them; workers give the host what belongs to no connection.
func (p *Plan) followOrphans(all map[service.Orphan]bool) {
	if maps.Equal(all, p.orphans) {
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
	p.replace(&p.ofOrphans, fs)
}

// guardedMarks also passes to the guard the rules whose mark only connections have, and
// omits those at the end that match no service.
func (p *Plan) guardedMarks(rules []service.MarkRule) []service.MarkRule {
	for i := range rules {
		r := &rules[i]
		r.Orphaned = !r.Served && r.Mark != 0 && p.orphans[service.Orphan{Key: config.Key{Mark: r.Mark, Family: r.AF}}]
		r.Served = r.Served || r.Orphaned
	}
	for len(rules) > 0 && !rules[len(rules)-1].Served && !rules[len(rules)-1].Left {
		rules = rules[:len(rules)-1]
	}
	return rules
}

// OnlyForOrphans reports whether the guard keeps a packet from the host only because of
// connections to which it does not belong.
func (s *View) OnlyForOrphans(f *frame.Flow) bool {
	if len(s.orphans) == 0 {
		return false
	}
	at := config.Key{Proto: config.Proto(f.Proto()), Addr: f.Dst()}.Normal()
	if any := (service.Orphan{Key: at}); s.orphans[any] {
		return true
	}
	ftp := service.Orphan{Key: at, Data: true}
	ftp.Key.Port, at.Port = service.FTPPort, f.DstPort()
	if s.orphans[service.Orphan{Key: at}] || isFTPData(f) && s.orphans[ftp] {
		return true
	}
	for i := range s.marks {
		if r := &s.marks[i]; r.Matches(f) {
			return r.Orphaned
		}
	}
	return false
}

// isFTPData reports whether a flow may be one of FTP's data connections to a
// persistent service.
func isFTPData(f *frame.Flow) bool {
	return f.Proto() == frame.ProtoTCP && (f.DstPort() == service.FTPDataPort || f.DstPort() >= service.UnprivilegedPorts)
}

// LocalsOutdated reports whether a local address in use is not covered, or one is covered
// only for connections that have ended.
func (s *View) LocalsOutdated(used map[[16]byte]bool) bool {
	for a, own := range s.oldLocals {
		if now, still := used[a]; !still || now != own {
			return true
		}
	}
	for a := range used {
		if !s.locals.has(a) {
			return true
		}
	}
	return false
}

// HasOrphans reports whether the view is up to date with what connections have left.
func (s *View) HasOrphans(all map[service.Orphan]bool) bool { return maps.Equal(s.orphans, all) }
