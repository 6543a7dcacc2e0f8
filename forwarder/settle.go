package forwarder

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/sched"
)

// Settle makes everything around the services fit them: the addresses that are
// answered and announced, the guard, and the filters of the ports. It is called
// after each change of the configuration, before its author is told that it is
// done, and costs time in proportion to the number of services.
func (fw *Forwarder) Settle() error {
	fw.settling.Lock()
	defer fw.settling.Unlock()
	p := fw.plan()
	fw.settings.Store(&p.settings)
	fw.neigh.SetOwned(p.addresses)
	fw.leftOut()
	if err := fw.setFilters(p); err != nil {
		return err
	}
	if fw.conf.Guard == nil {
		return nil
	}
	if err := fw.conf.Guard.Set(p.guard(fw.served())); err != nil {
		return fmt.Errorf("forwarder: guard: %w", err)
	}
	return nil
}

func (fw *Forwarder) settleOrLog() {
	if err := fw.Settle(); err != nil {
		fw.log.Error("apply configuration", "err", err)
	}
	fw.expireServerless()
}

// plan is what follows from the services for the system around them.
type plan struct {
	settings
	addresses []netip.Addr // to answer for
	locals    []netip.Addr // of FULLNAT
	ftp       []netip.Addr // of persistent FTP services, which take the data connections, too
	tuples    []tuple      // of services
}

// tuple is a service by address: port 0 is every port.
type tuple struct {
	proto uint8
	addr  netip.Addr
	port  uint16
}

func (fw *Forwarder) plan() *plan {
	p := &plan{settings: settings{
		virtual: map[[16]byte]bool{},
		owned:   map[[16]byte]bool{},
		shared:  map[[16]byte]bool{},
		servers: map[[16]byte]bool{},
		replies: map[endpoint]bool{},
		ipsec:   map[[16]byte]bool{},
		lasting: map[[16]byte]bool{},
	}}
	for svc := range fw.Load().All() {
		p.addService(svc)
		p.addSources(svc, fw.neigh)
		if fw.leadsHost() {
			p.addHome(svc, fw.neigh)
		}
	}
	if fw.leadsHost() {
		p.addLeft(fw.services.leftovers())
	}
	slices.SortFunc(p.ftp, netip.Addr.Compare)
	p.addCallers(fw.Load())
	for _, s := range fw.held() {
		p.addServer(s)
	}
	for _, v := range fw.lingering() {
		p.addAddresses(v.Key, v.Local)
	}
	p.addLasting(fw.locals)
	p.addMarks(fw.marked())
	p.own(fw.neigh)
	return p
}

func (p *plan) addService(svc *Service) {
	p.addAddresses(svc.Key, svc.Local)
	if svc.Mark == 0 && svc.Proto == config.TCP && svc.Port == ftpPort && svc.Persistent != 0 {
		p.ftp = append(p.ftp, svc.Addr)
	}
	for _, s := range svc.Servers {
		p.addServer(s)
	}
}

// addAddresses notes the addresses of a service.
func (p *plan) addAddresses(k config.Key, locals []netip.Addr) {
	if k.Mark == 0 {
		p.virtual[k.Addr.As16()] = true
		p.tuples = append(p.tuples, tuple{uint8(k.Proto), k.Addr, k.Port})
		if k.Proto == config.UDP && (k.Port == isakmp || k.Port == 0) {
			p.addIPsec(k.Addr)
		}
	}
	for _, a := range locals {
		p.owned[a.As16()] = true
		p.locals = append(p.locals, a)
	}
}

// addIPsec notes that key exchanges to an address are for a service, and so what
// follows them.
func (p *plan) addIPsec(a netip.Addr) {
	p.ipsec[a.As16()] = true
	p.tuples = append(p.tuples, tuple{frame.ProtoESP, a, 0}, tuple{frame.ProtoAH, a, 0})
}

// addSources notes which of the host's own addresses FULLNAT uses for a service
// that names none.
func (p *plan) addSources(svc *Service, n Neighbours) {
	if len(svc.Local) > 0 {
		return
	}
	for _, s := range svc.Servers {
		if s.Method() != sched.FullNAT {
			continue
		}
		if hop, v := n.Lookup(s.Addr.Addr()); v == frame.Continue && hop.Source.IsValid() && !slices.Contains(p.locals, hop.Source) {
			p.locals = append(p.locals, hop.Source)
		}
	}
}

// addHome notes that replies of a service come from the virtual address on the
// host itself, because one of its servers is the host and gets packets as they
// are.
func (p *plan) addHome(svc *Service, n Neighbours) {
	if svc.Mark != 0 || !n.LocalAddr(svc.Addr) {
		return
	}
	for _, s := range svc.Servers {
		if direct(s.Method()) && n.LocalAddr(s.Addr.Addr()) {
			p.servers[svc.Addr.As16()] = true
			p.replies[endpoint{svc.Addr.As16(), svc.Port, uint8(svc.Proto)}] = true
			return
		}
	}
}

// addServer notes where the replies of a real server come from, if they come
// back to the director: because of its method, or that of its connections.
func (p *plan) addServer(s *Server) {
	answers := s.Answers()
	s.covered.Store(answers)
	if !answers {
		return
	}
	a := s.Addr.Addr().As16()
	p.servers[a] = true
	protos := []uint8{uint8(s.Key.Proto)}
	if s.Key.Mark != 0 {
		protos = []uint8{frame.ProtoTCP, frame.ProtoUDP, frame.ProtoSCTP}
	}
	for _, proto := range protos {
		port := s.Addr.Port()
		if s.Key.Port == ftpPort && s.masked.Load() {
			port = dataPorts(proto, ftpPort)
		}
		p.addReply(endpoint{a, port, proto}, s)
		if proto == frame.ProtoUDP && (port == isakmp || port == 0) {
			p.addReply(endpoint{a, 0, frame.ProtoESP}, s)
			p.addReply(endpoint{a, 0, frame.ProtoAH}, s)
		}
	}
}

// addReply notes one end that replies come from. IPVS knows as configured what was
// by NAT since it was added (ip_vs_ctl.c, ip_vs_rs_hash).
func (p *plan) addReply(e endpoint, s *Server) {
	configured := s.Available() && (s.masked.Load() || repliesReturn(s.Method()))
	p.replies[e] = p.replies[e] || configured
}

// addCallers notes which real server a datagram is from, if a service has such
// begin connections: of those with one address and port the youngest, whatever
// its service (ip_vs_ctl.c, ip_vs_find_real_service).
func (p *plan) addCallers(all *Snapshot) {
	for svc := range all.All() {
		if svc.calls() {
			p.callers = map[endpoint]caller{}
		}
	}
	if p.callers == nil {
		return
	}
	for svc := range all.All() {
		if svc.Mark == 0 && svc.Proto != config.UDP {
			continue
		}
		for _, s := range svc.Servers {
			at := endpoint{s.Addr.Addr().As16(), s.Addr.Port(), frame.ProtoUDP}
			if old, ok := p.callers[at]; s.Method() == sched.Masq && (!ok || old.server.seq < s.seq) {
				p.callers[at] = caller{svc, s}
			}
		}
	}
}

// addMarks notes the rules for firewall marks. A destination that is a single
// address is a virtual address like that of a service.
func (p *plan) addMarks(rules []markRule) {
	p.marks = p.remark(rules)
	for i, r := range rules {
		if !r.served || !r.Dst.IsSingleIP() {
			continue
		}
		p.virtual[r.Dst.Addr().As16()] = true
		excepted := func(x markRule) bool {
			return !x.served && x.exchanges() && (!x.Dst.IsValid() || x.Dst.Contains(r.Dst.Addr()))
		}
		if r.exchanges() && !slices.ContainsFunc(rules[:i], excepted) {
			p.addIPsec(r.Dst.Addr())
		}
	}
}

// own says which addresses the director answers for and which of them only it
// has.
func (p *plan) own(n Neighbours) {
	all := maps.Clone(p.owned)
	maps.Copy(all, p.virtual)
	for a := range all {
		addr := netip.AddrFrom16(a).Unmap()
		p.addresses = append(p.addresses, addr)
		if n.LocalAddr(addr) {
			delete(p.owned, a)
		} else {
			p.owned[a] = true
		}
	}
	slices.SortFunc(p.addresses, netip.Addr.Compare)
	for _, a := range p.locals {
		if n.LocalAddr(a) {
			p.shared[a.As16()] = true
		}
	}
}

// alone returns the addresses only the director has, sorted.
func (p *plan) alone() []netip.Addr {
	all := make([]netip.Addr, 0, len(p.owned))
	for a := range p.owned {
		all = append(all, netip.AddrFrom16(a).Unmap())
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

func (p *plan) replyTuples() []tuple {
	all := make([]tuple, 0, len(p.replies))
	for e := range p.replies {
		all = append(all, tuple{e.proto, netip.AddrFrom16(e.addr).Unmap(), e.port})
	}
	slices.SortFunc(all, func(a, b tuple) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.proto, b.proto), cmp.Compare(a.port, b.port))
	})
	return all
}

// guard returns the rules for the guard on the named interfaces.
func (p *plan) guard(links []string) guard.Rules {
	r := guard.Rules{Links: links, Local: append(p.alone(), p.locals...), Marks: p.guardMarks(),
		Host: len(p.tuples)+len(p.replies)+len(p.marks) > 0}
	for _, t := range p.tuples {
		r.Virtual = append(r.Virtual, guard.Tuple{Proto: t.proto, Addr: t.addr, Port: t.port})
	}
	for _, t := range p.replyTuples() {
		r.Servers = append(r.Servers, guard.Tuple{Proto: t.proto, Addr: t.addr, Port: t.port})
	}
	return r
}

// guardMarks returns what the guard tells by more than one address and one port:
// what is for FTP's data connections, and what bears a mark.
func (p *plan) guardMarks() []guard.Match {
	var all []guard.Match
	for _, a := range p.ftp {
		for _, ports := range [][2]uint16{{ftpDataPort, ftpDataPort}, {unprivilegedPorts, math.MaxUint16}} {
			all = append(all, guard.Match{Six: a.Is6(), Dst: netip.PrefixFrom(a, a.BitLen()), Proto: frame.ProtoTCP, DstPorts: ports, Drop: true})
		}
	}
	for _, r := range p.marks {
		for _, proto := range markProtos {
			if r.Proto == 0 || r.Proto == proto {
				all = append(all, guard.Match{
					Six: r.family == config.IPv6, Src: r.Src, Dst: r.Dst, Proto: uint8(proto), Drop: r.served,
					SrcPorts: [2]uint16{r.SrcPorts.First, r.SrcPorts.Last},
					DstPorts: [2]uint16{r.DstPorts.First, r.DstPorts.Last},
				})
			}
		}
	}
	return all
}

// exchanges reports whether the rule is for the key exchanges of all clients.
func (r *markRule) exchanges() bool {
	return (r.Proto == 0 || r.Proto == config.UDP) && r.SrcPorts.Contains(isakmp) && r.DstPorts.Contains(isakmp) &&
		(!r.Src.IsValid() || r.Src.Bits() == 0)
}

// onlyPort returns the destination port of a rule for a single one, else 0.
func (r *markRule) onlyPort() uint16 {
	if r.DstPorts.First == r.DstPorts.Last {
		return r.DstPorts.First
	}
	return 0
}
