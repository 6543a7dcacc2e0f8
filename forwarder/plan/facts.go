package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/service"
)

// fact is one thing that follows from a service, a real server or a mark rule for the
// system around them. Several sources may yield the same fact.
type fact struct {
	kind  factKind
	proto uint8
	port  uint16 // 0: every port
	addr  netip.Addr
}

type factKind uint8

const (
	factAnswered   factKind = iota // the director answers for the address
	factSilent                     // a service's role is not to answer for its address
	factLeft                       // requests to the endpoint are left to others
	factAway                       // and the address is, for some service
	factQuiet                      // the host's stack does not refuse requests to the endpoint
	factVirtual                    // the address is that of a service that is served
	factLocal                      // FULLNAT uses the address
	factIPsec                      // key exchanges to the address, and so AH and ESP, are for a service
	factServer                     // replies come from the address
	factReply                      // replies come from the endpoint
	factAvailable                  // and its server is configured
	factGuarded                    // the guard keeps requests to the endpoint from the host
	factAdmitted                   // the filters of the ports admit requests to it
	factFTP                        // the guard keeps FTP's data connections to the address from the host
	factServerAddr                 // packets are sent to the address of a real server
	factProbed                     // probes are answered from the virtual endpoint
	factNetwork                    // a mark is for a whole network, so that filters admit all
	numFacts
)

func (f *fact) endpoint() endpoint { return endpoint{f.addr.As16(), f.port, f.proto} }

func (f *fact) tuple() guard.Tuple { return guard.Tuple{Proto: f.proto, Addr: f.addr, Port: f.port} }

func (f fact) compare(g fact) int {
	return cmp.Or(f.addr.Compare(g.addr), cmp.Compare(f.proto, g.proto), cmp.Compare(f.port, g.port), cmp.Compare(f.kind, g.kind))
}

// facts are what follows from one source.
type facts []fact

// factsOf returns what follows from a service with its servers.
func factsOf(svc *service.Service, h Host) facts {
	fs := make(facts, 0, 3+4*len(svc.Servers))
	s := h.stanceOf(&svc.Service)
	fs.addAddresses(&svc.Service, s, h)
	if svc.Mark == 0 && s.serves && svc.Proto == config.TCP && svc.Port == service.FTPPort && svc.Persistent != 0 {
		fs = append(fs, fact{kind: factFTP, addr: svc.Addr})
	}
	for _, s := range svc.Servers {
		fs.addServer(s)
		if h.ServerAddrs {
			fs = append(fs, fact{kind: factServerAddr, addr: s.Addr.Addr()})
		}
	}
	fs.addProbed(svc)
	fs.addHostLocals(svc, h)
	if h.Redirected {
		fs.addLocalReplies(svc, h)
	}
	return fs
}

// addAddresses adds the addresses of a service.
func (fs *facts) addAddresses(svc *config.Service, s stance, h Host) {
	k := svc.Key
	switch {
	case k.Mark != 0:
	case !s.serves:
		*fs = append(*fs, fact{factLeft, uint8(k.Proto), k.Port, k.Addr}, fact{kind: factAway, addr: k.Addr})
	default:
		fs.addVirtual(k.Addr, s.answers)
		fs.addRequests(uint8(k.Proto), k.Addr, k.Port)
		if k.Proto == config.UDP && (k.Port == frame.PortISAKMP || k.Port == 0) {
			fs.addIPsec(k.Addr)
		}
	}
	if k.Mark == 0 && h.follows(svc) {
		*fs = append(*fs, fact{factQuiet, uint8(k.Proto), k.Port, k.Addr})
	}
	for _, a := range svc.Local {
		*fs = append(*fs, fact{kind: factLocal, addr: a})
		if s.serves || h.LocalAddr(a) {
			*fs = append(*fs, fact{kind: factAnswered, addr: a})
		}
	}
}

// addVirtual adds that an address is that of a service that is served.
func (fs *facts) addVirtual(a netip.Addr, answers bool) {
	kind := factAnswered
	if !answers {
		kind = factSilent
	}
	*fs = append(*fs, fact{kind: factVirtual, addr: a}, fact{kind: kind, addr: a})
}

// addRequests adds that requests to an endpoint are for a service.
func (fs *facts) addRequests(proto uint8, addr netip.Addr, port uint16) {
	*fs = append(*fs, fact{factGuarded, proto, port, addr})
	fs.addAdmitted(proto, addr, port)
}

func (fs *facts) addAdmitted(proto uint8, addr netip.Addr, port uint16) {
	*fs = append(*fs, fact{factAdmitted, proto, dataPorts(proto, port), addr})
}

// addIPsec adds that key exchanges to an address, and so the AH and ESP packets after
// them, are for a service.
func (fs *facts) addIPsec(a netip.Addr) {
	*fs = append(*fs, fact{kind: factIPsec, addr: a})
	fs.addRequests(frame.ProtoESP, a, 0)
	fs.addRequests(frame.ProtoAH, a, 0)
}

// addHostLocals adds which of the host's own addresses FULLNAT uses for a service that
// names none.
func (fs *facts) addHostLocals(svc *service.Service, h Host) {
	if len(svc.Local) > 0 {
		return
	}
	known := map[netip.Addr]bool{}
	for _, s := range svc.Servers {
		if !s.Method().NeedsLocal() {
			continue
		}
		if hop, v := h.Lookup(s.Addr.Addr()); v == frame.Continue && hop.Source.IsValid() && !known[hop.Source] {
			known[hop.Source] = true
			*fs = append(*fs, fact{kind: factLocal, addr: hop.Source})
		}
	}
}

// addLocalReplies adds that replies of a service come from the virtual address on the
// host itself, because one of its servers is the host and gets packets unchanged.
func (fs *facts) addLocalReplies(svc *service.Service, h Host) {
	if svc.Mark != 0 || !h.LocalAddr(svc.Addr) {
		return
	}
	for _, s := range svc.Servers {
		if s.Method().Direct() && h.LocalAddr(s.Addr.Addr()) {
			fs.addReplies(uint8(svc.Proto), svc.Addr, svc.Port, true)
			return
		}
	}
}

// addProbed adds which virtual endpoints answer to probes: those of servers that get
// packets unchanged.
func (fs *facts) addProbed(svc *service.Service) {
	direct := func(s *service.Server) bool { return s.Method().Direct() }
	if !slices.ContainsFunc(svc.Servers, direct) {
		return
	}
	for _, c := range svc.Checks {
		if c.Kind == config.CheckPassive {
			continue
		}
		to := c.Target(svc.Key)
		*fs = append(*fs, fact{factProbed, uint8(c.Proto()), to.Port(), to.Addr()})
	}
	if svc.Probing > 0 && svc.Mark == 0 {
		*fs = append(*fs, fact{factProbed, uint8(svc.Proto), svc.Port, svc.Addr})
	}
}

// addServer adds where the replies of a real server come from, if they return to the
// director: because of its method, or that of its connections. For IPVS a server counts
// as configured while its method is NAT (ip_vs_ctl.c, ip_vs_has_real_service).
func (fs *facts) addServer(s *service.Server) {
	answers := s.HasReplies()
	s.RepliesGuarded.Store(answers)
	if !answers {
		return
	}
	protos := []config.Proto{s.Key.Proto}
	if s.Key.Mark != 0 {
		protos = service.MarkProtos
	}
	a, masked := s.Addr.Addr(), s.WasMasq.Load()
	here := s.Available() && s.Method().Translates()
	for _, proto := range protos {
		proto, port := uint8(proto), s.Addr.Port()
		if s.Key.Port == service.FTPPort && masked {
			port = dataPorts(proto, service.FTPPort)
		}
		fs.addReplies(proto, a, port, here)
		if proto == frame.ProtoUDP && (port == frame.PortISAKMP || port == 0) {
			fs.addReplies(frame.ProtoESP, a, 0, here)
			fs.addReplies(frame.ProtoAH, a, 0, here)
		}
	}
}

// addReplies adds that replies come from an endpoint, and whether its server is
// configured.
func (fs *facts) addReplies(proto uint8, a netip.Addr, port uint16, here bool) {
	*fs = append(*fs, fact{kind: factServer, addr: a}, fact{factReply, proto, port, a})
	if here {
		*fs = append(*fs, fact{factAvailable, proto, port, a})
	}
}

// addMarks adds the rules for firewall marks. A destination that is a single address is
// a virtual address like that of a service.
func (fs *facts) addMarks(rules []service.MarkRule) {
	var exceptions []*service.MarkRule // from key exchanges
	for i := range rules {
		r := &rules[i]
		if !r.Served && r.KeyExchange() {
			exceptions = append(exceptions, r)
		}
		if r.Left {
			*fs = append(*fs, fact{kind: factAway, addr: r.Dst.Addr()})
		}
		if !r.Served {
			continue
		}
		if !r.Dst.IsSingleIP() {
			*fs = append(*fs, fact{kind: factNetwork})
			continue
		}
		dst := r.Dst.Addr()
		fs.addVirtual(dst, !r.Silent)
		fs.addAdmitted(uint8(r.Proto), dst, r.OnlyPort())
		excepted := func(x *service.MarkRule) bool { return !x.Dst.IsValid() || x.Dst.Contains(dst) }
		if r.KeyExchange() && !slices.ContainsFunc(exceptions, excepted) {
			fs.addIPsec(dst)
		}
	}
}

// factCounts counts facts and reports which have appeared or disappeared.
type factCounts struct {
	count   map[fact]int
	of      [numFacts]int     // different facts of a kind
	changed map[fact]struct{} // those whose count has changed, perhaps more than once
	work    int               // facts counted, for tests
}

func newFactCounts() factCounts {
	return factCounts{count: map[fact]int{}, changed: map[fact]struct{}{}}
}

// replace replaces what followed from a source with fresh. Their common beginning and
// end are not counted again.
func (l *factCounts) replace(old *facts, fresh facts) {
	gone, more := *old, fresh
	for len(gone) > 0 && len(more) > 0 && gone[0] == more[0] {
		gone, more = gone[1:], more[1:]
	}
	for len(gone) > 0 && len(more) > 0 && gone[len(gone)-1] == more[len(more)-1] {
		gone, more = gone[:len(gone)-1], more[:len(more)-1]
	}
	for _, f := range more {
		l.add(f, 1)
	}
	for _, f := range gone {
		l.add(f, -1)
	}
	*old = fresh
}

func (l *factCounts) add(f fact, n int) {
	f.addr = f.addr.Unmap()
	l.work++
	was := l.count[f]
	switch {
	case was == 0:
		l.of[f.kind]++
	case was+n == 0:
		l.of[f.kind]--
	}
	if was == 0 || was+n == 0 {
		if _, twice := l.changed[f]; twice {
			delete(l.changed, f) // and back
		} else {
			l.changed[f] = struct{}{}
		}
	}
	if was+n == 0 {
		delete(l.count, f)
		return
	}
	l.count[f] = was + n
}

// changes returns the facts that have appeared or disappeared since the last call,
// sorted by address: that is fastest for lists sorted by address.
func (l *factCounts) changes() facts {
	fs := slices.SortedFunc(maps.Keys(l.changed), fact.compare)
	l.changed = map[fact]struct{}{}
	return fs
}

// has reports whether there is such a fact.
func (l *factCounts) has(f fact) bool { return l.count[f] > 0 }

// all returns the facts of a kind in no particular order.
func (l *factCounts) all(kind factKind) facts {
	fs := make(facts, 0, l.of[kind])
	if l.of[kind] == 0 {
		return fs
	}
	for f := range l.count {
		if f.kind == kind {
			fs = append(fs, f)
		}
	}
	return fs
}

// dataPorts returns the ports that packets of a service on a port may have: with FTP's
// control connections come data connections, on any port.
func dataPorts(proto uint8, port uint16) uint16 {
	if proto == frame.ProtoTCP && port == service.FTPPort {
		return 0
	}
	return port
}
