package forwarder

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// What the plan covers follows from the connections that live, not from the
// configuration alone: servers that were removed or have another method now, and
// local addresses that no service has any more.

// lingeringServers returns the removed servers that are remembered: their replies are
// translated until their last connection has ended.
func (s *Services) lingeringServers() []*Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.removed), func(a, b *Server) int { return cmp.Compare(a.ID, b.ID) })
}

// followLocals takes account of the local addresses of FULLNAT that only
// connections have.
func (p *plan) followLocals(ports *conntrack.Ports) {
	p.replace(&p.lasts, nil)
	p.lasting = map[[16]byte]bool{}
	var fs facts
	for a := range ports.InUse() {
		local := fact{kind: factLocal, addr: netip.AddrFrom16(a).Unmap()}
		if !p.has(local) {
			p.lasting[a] = true
			fs = append(fs, local, fact{kind: factAnswered, addr: local.addr})
		}
	}
	p.replace(&p.lasts, fs)
}

// leftover is an end of connections that no service has any more: that of a service
// which was removed, or the data connections of an FTP service that is no longer
// persistent.
type leftover struct {
	key  config.Key
	data bool
}

// leftovers returns what connections have left: their packets are not the host's,
// which would reset them. Without any service all are.
func (s *Services) leftovers() map[leftover]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[leftover]bool{}
	for _, servers := range []map[serverKey]*Server{s.servers, s.removed} {
		for _, server := range servers {
			if len(s.byKey) == 0 || server.Active()+server.Inactive() == 0 {
				continue
			}
			v := s.byKey[server.Key]
			if v == nil {
				all[leftover{server.Key, false}] = true
			}
			if server.data.Load() && (v == nil || v.Persistent == 0) {
				all[leftover{server.Key, true}] = true
			}
		}
	}
	return all
}

// followLeft takes account of what the guard has to keep from the host for
// connections alone. What else comes there is delivered.
func (p *plan) followLeft(all map[leftover]bool) {
	if maps.Equal(all, p.left) {
		return
	}
	var fs facts
	for l := range all {
		switch {
		case l.key.Mark != 0:
		case l.data:
			fs = append(fs, fact{kind: factFTP, addr: l.key.Addr})
		default:
			fs.addRequests(uint8(l.key.Proto), l.key.Addr, l.key.Port)
		}
	}
	p.replace(&p.leaves, fs)
}

// remark has rules lead to the guard, too, whose mark only connections have, and
// leaves out those at the end that lead nowhere.
func (p *plan) remark(rules []markRule) []markRule {
	for i := range rules {
		r := &rules[i]
		r.left = !r.served && r.Mark != 0 && p.left[leftover{key: config.Key{Mark: r.Mark, Family: r.family}}]
		r.served = r.served || r.left
	}
	for len(rules) > 0 && !rules[len(rules)-1].served {
		rules = rules[:len(rules)-1]
	}
	return rules
}

// leaves reports whether the guard keeps a packet from the host only because of
// connections, of which it is none.
func (s *settings) leaves(f *frame.Flow) bool {
	if len(s.left) == 0 {
		return false
	}
	at := config.Key{Proto: config.Proto(f.Proto()), Addr: f.Dst()}.Normal()
	if any := (leftover{key: at}); s.left[any] {
		return true
	}
	ftp := leftover{at, true}
	ftp.key.Port, at.Port = ftpPort, f.DstPort()
	if s.left[leftover{key: at}] || isFTPData(f) && s.left[ftp] {
		return true
	}
	for i := range s.marks {
		if r := &s.marks[i]; r.matches(f) {
			return r.left
		}
	}
	return false
}

// isFTPData reports whether a flow may be one of FTP's data connections to a
// persistent service.
func isFTPData(f *frame.Flow) bool {
	return f.Proto() == frame.ProtoTCP && (f.DstPort() == ftpDataPort || f.DstPort() >= unprivilegedPorts)
}

// outdated reports whether the last plan covers what no connection needs any more,
// or lacks what one needs that began meanwhile.
func (fw *Forwarder) outdated() bool {
	last := fw.settings.Load()
	return fw.services.miscovers() || last.misses(fw.locals.InUse()) ||
		fw.leadsHost() && !maps.Equal(last.left, fw.services.leftovers())
}

// miscovers reports whether the last plan is wrong about the replies of a server.
func (s *Services) miscovers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range []map[serverKey]*Server{s.servers, s.removed} {
		for _, server := range all {
			if server.covered.Load() != server.Answers() {
				return true
			}
		}
	}
	return false
}

// misses reports whether a local address in use is not covered, or one is covered
// only for connections that have ended.
func (s *settings) misses(used map[[16]byte]bool) bool {
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
