// Package plan works out what follows from the services for the system around them:
// which addresses the director answers for, what the guard keeps from the host, what
// the filters of the ports admit, and what workers must know beside the services.
//
// A Plan follows the service table: each change costs what it changes, however many
// services there are. It has no side effects: it reads the host's routes and addresses,
// and returns as a Difference what others have to change; it changes nothing itself. A
// Plan belongs to one goroutine. A View, which workers read, never changes.
package plan

import (
	"maps"
	"math"
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/forwarder/filter"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
)

// Plan is what follows from the services for the system around them. It is kept up to
// date with their changes; when the host or its interfaces change it is rebuilt.
type Plan struct {
	factCounts
	seen              *service.Snapshot         // the services it was built from
	services          map[service.Target]*facts // and what follows from each
	ofRemovedServers  facts                     // from removed servers that have connections
	ofRemovedServices facts                     // from removed services whose connections drain
	ofOrphans         facts                     // from connections whose services are gone
	ofOldLocals       facts                     // from local addresses that only connections have
	ofMarks           facts                     // from the mark rules
	orphans           map[service.Orphan]bool
	oldLocals         map[[16]byte]bool
	rules             []service.MarkRule
	markVersion       uint64 // of the rules
	serverFlows       map[endpoint]ServerFlow

	virtual, owned, shared, servers, ipsec endpointsDraft[struct{}]
	left, locals                           endpointsDraft[struct{}]
	replies                                endpointsDraft[bool]
	guarded                                map[netip.Addr]bool // addresses for which the guard drops everything
	matches                                []guard.Match       // what the guard matches by more than one address and port
	ends                                   *filter.Ends
}

// Difference is how a plan differs from an earlier one for the system around the
// services.
type Difference struct {
	Answer, Release         []netip.Addr // addresses to answer for from now on, and those no longer
	NewServers, GoneServers []netip.Addr // addresses of real servers, new and no longer used
	Silent                  bool         // Plan.Silent may have changed
	Quiet                   bool         // Plan.Quiet may have
	add, remove             guard.Rules  // tuples and addresses only
	matches                 bool         // those of the guard have changed
}

// Host is what a plan has to know about the machine around the services.
type Host struct {
	Routes
	Redirected  bool           // its own packets come to the director
	ServerAddrs bool           // it matters to which real servers packets are sent, as interfaces are left out
	VIPRole     config.VIPRole // of services that have none
}

// Routes are the routes and addresses of the host.
type Routes interface {
	Lookup(dst netip.Addr) (*neigh.Hop, frame.Verdict)
	LocalAddr(a netip.Addr) bool
}

// New returns the plan for no services at all.
func New() *Plan {
	return &Plan{factCounts: newFactCounts(), seen: &service.Snapshot{}, services: map[service.Target]*facts{},
		guarded: map[netip.Addr]bool{}, ends: &filter.Ends{}}
}

// Follow brings a plan up to date, in time proportional to what has changed. locals
// are the local addresses that connections have, and whether this director gave them out.
func (p *Plan) Follow(s *service.Table, locals map[[16]byte]bool, h Host) Difference {
	now := s.Load()
	for t, svc := range now.ChangedSince(p.seen) {
		at := p.services[t]
		if at == nil {
			at = &facts{}
			p.services[t] = at
		}
		if svc == nil {
			p.replace(at, nil)
			delete(p.services, t)
			continue
		}
		p.replace(at, factsOf(svc, h))
	}
	p.seen = now
	p.followRemoved(s, h)
	var orphans map[service.Orphan]bool
	if h.Redirected {
		orphans = s.Orphans()
	}
	p.followOrphans(orphans)
	p.followLocals(locals)
	marksChanged := s.MarkVersion() != p.markVersion || !maps.Equal(orphans, p.orphans)
	p.orphans = orphans
	if marksChanged {
		p.followMarks(s, h)
	}
	p.serverFlows = serverFlowsOf(now)
	return p.difference(h, marksChanged)
}

// followRemoved accounts for removed servers and services that still have connections.
func (p *Plan) followRemoved(s *service.Table, h Host) {
	var servers, services facts
	for _, server := range s.RemovedServers() {
		servers.addServer(server)
	}
	for _, v := range s.DrainingServices() {
		services.addAddresses(&v, h.stanceOf(&v), h)
	}
	p.replace(&p.ofRemovedServers, servers)
	p.replace(&p.ofRemovedServices, services)
}

func (p *Plan) followMarks(s *service.Table, h Host) {
	rules, version := s.MarkRules()
	for i := range rules {
		r := &rules[i]
		s, follows := p.stanceOfRule(r, &h)
		r.Follows = r.Served && follows
		r.Left = r.Served && !s.serves
		r.Served = r.Served && !r.Left
		r.Silent = !s.answers
	}
	p.rules, p.markVersion = p.guardedMarks(rules), version
	fs := make(facts, 0, 3*len(p.rules))
	fs.addMarks(p.rules)
	p.replace(&p.ofMarks, fs)
}

// difference works out the difference from the facts that have changed, and from the
// mark rules if they have.
func (p *Plan) difference(h Host, marksChanged bool) Difference {
	d := Difference{matches: marksChanged, Quiet: marksChanged}
	var addresses []netip.Addr
	for _, f := range p.changes() {
		on := p.has(f)
		switch f.kind {
		case factAnswered:
			addresses = append(addresses, f.addr)
			put(&d.Answer, &d.Release, f.addr, on)
			d.Silent = d.Silent || p.of[factSilent]+p.of[factAway] > 0
		case factSilent:
			d.Silent = true
		case factAway:
			addresses = append(addresses, f.addr)
			d.Silent = true
		case factQuiet:
			d.Quiet = true
		case factLeft:
			p.left.put(f.endpoint(), struct{}{}, on)
		case factLocal:
			addresses = append(addresses, f.addr)
		case factVirtual:
			addresses = append(addresses, f.addr)
			p.virtual.put(f.endpoint(), struct{}{}, on)
		case factIPsec:
			p.ipsec.put(f.endpoint(), struct{}{}, on)
		case factServer:
			p.servers.put(f.endpoint(), struct{}{}, on)
		case factReply, factAvailable:
			p.updateReply(&d, f, on)
		case factGuarded:
			put(&d.add.Virtual, &d.remove.Virtual, f.tuple(), on)
		case factFTP:
			d.matches = true
		case factProbed:
			p.ends.Server(filter.Tuple{Proto: f.proto, Addr: f.addr, Port: f.port}, on)
		case factServerAddr:
			put(&d.NewServers, &d.GoneServers, f.addr, on)
		case factAdmitted:
			p.ends.Virtual(filter.Tuple{Proto: f.proto, Addr: f.addr, Port: f.port}, on)
		}
	}
	for _, addr := range slices.Compact(addresses) {
		p.updateAddress(&d, addr, h)
	}
	if d.matches {
		p.matches = p.guardMatches()
	}
	return d
}

// put appends v to one list or to the other.
func put[V any](in, out *[]V, v V, on bool) {
	if !on {
		in = out
	}
	*in = append(*in, v)
}

func (p *Plan) updateReply(d *Difference, f fact, on bool) {
	available := f
	available.kind = factAvailable
	if f.kind == factReply {
		put(&d.add.Servers, &d.remove.Servers, f.tuple(), on)
		p.ends.Server(filter.Tuple{Proto: f.proto, Addr: f.addr, Port: f.port}, on)
	}
	f.kind = factReply
	p.replies.put(f.endpoint(), p.has(available), p.has(f))
}

// updateAddress determines whether an address is the director's alone, and whether
// FULLNAT shares it with the host.
func (p *Plan) updateAddress(d *Difference, addr netip.Addr, h Host) {
	host := h.LocalAddr(addr)
	used := p.has(fact{kind: factLocal, addr: addr})
	answered, virtual := p.has(fact{kind: factAnswered, addr: addr}), p.has(fact{kind: factVirtual, addr: addr})
	alone := (answered || virtual) && !host
	at := endpoint{addr: addr.As16()}
	if p.owned.has(at.addr) != alone {
		p.owned.put(at, struct{}{}, alone)
		p.ends.Local(addr, alone)
	}
	p.locals.put(at, struct{}{}, used)
	p.shared.put(at, struct{}{}, used && host)
	whole := alone && !p.has(fact{kind: factAway, addr: addr}) || used && (host || answered)
	if p.guarded[addr] == whole {
		return
	}
	put(&d.add.Local, &d.remove.Local, addr, whole)
	if delete(p.guarded, addr); whole {
		p.guarded[addr] = true
	}
}

// View returns the plan in the form that workers read.
func (p *Plan) View() *View {
	return &View{
		virtuals: p.virtual.publish(), owned: p.owned.publish(), shared: p.shared.publish(), locals: p.locals.publish(),
		servers: p.servers.publish(), ipsec: p.ipsec.publish(), replies: p.replies.publish(),
		left: p.left.publish(), leaving: p.of[factLeft] > 0 || slices.ContainsFunc(p.rules, func(r service.MarkRule) bool { return r.Left }),
		serverFlows: p.serverFlows, marks: p.rules, orphans: p.orphans, oldLocals: p.oldLocals,
	}
}

// serverFlowsOf returns which real server a datagram is from, if datagrams of a
// service's servers start connections: of servers with the same address and port the
// one added last, whatever its service (ip_vs_ctl.c, ip_vs_find_real_service).
func serverFlowsOf(all *service.Snapshot) map[endpoint]ServerFlow {
	if all.ServersBegin == 0 {
		return nil
	}
	flows := map[endpoint]ServerFlow{}
	for svc := range all.All() {
		if svc.Mark == 0 && svc.Proto != config.UDP {
			continue
		}
		for _, s := range svc.Servers {
			at := endpoint{s.Addr.Addr().As16(), s.Addr.Port(), frame.ProtoUDP}
			if old, ok := flows[at]; s.Method().Masquerades() && (!ok || old.Server.Seq < s.Seq) {
				flows[at] = ServerFlow{svc, s}
			}
		}
	}
	return flows
}

// addresses returns all addresses of a kind of facts, sorted.
func (p *Plan) addresses(kind factKind) []netip.Addr {
	fs := p.all(kind)
	addrs := make([]netip.Addr, len(fs))
	for i, f := range fs {
		addrs[i] = f.addr
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// Answered returns the addresses that the director answers for, sorted.
func (p *Plan) Answered() []netip.Addr { return p.addresses(factAnswered) }

// ServerAddrs returns the addresses of real servers that packets are sent to, sorted.
func (p *Plan) ServerAddrs() []netip.Addr { return p.addresses(factServerAddr) }

// HasServerAddr reports whether an address is that of such a server.
func (p *Plan) HasServerAddr(a netip.Addr) bool { return p.has(fact{kind: factServerAddr, addr: a}) }

// Filters returns what the filters of the ports admit by address and port.
func (p *Plan) Filters() *filter.Ends { return p.ends }

// AdmitsAll reports whether the filters have to admit all packets, as a mark is for
// a whole network.
func (p *Plan) AdmitsAll() bool { return p.of[factNetwork] > 0 }

// Guard returns the rules for the guard on the named interfaces.
func (p *Plan) Guard(links []string) guard.Rules {
	r := guard.Rules{Links: links, Marks: p.matches, Host: p.Guards(),
		Virtual: tuples(p.all(factGuarded)), Servers: tuples(p.all(factReply))}
	for a := range p.guarded {
		r.Local = append(r.Local, a)
	}
	return r
}

// Change returns the change of the guard's rules for a difference.
func (p *Plan) Change(d *Difference) guard.Change {
	c := guard.Change{Add: d.add, Remove: d.remove}
	if d.matches {
		c.Marks = p.matches
	}
	return c
}

// guardMatches returns what the guard matches by more than one address and port: FTP's
// data connections, and packets with a mark.
func (p *Plan) guardMatches() []guard.Match {
	all := make([]guard.Match, 0, 2*p.of[factFTP]+len(service.MarkProtos)*len(p.rules))
	for _, a := range p.addresses(factFTP) {
		for _, ports := range [][2]uint16{{service.FTPDataPort, service.FTPDataPort}, {service.UnprivilegedPorts, math.MaxUint16}} {
			all = append(all, guard.Match{Six: a.Is6(), Dst: netip.PrefixFrom(a, a.BitLen()), Proto: frame.ProtoTCP, DstPorts: ports, Drop: true})
		}
	}
	for i := range p.rules {
		all = appendMatches(all, &p.rules[i])
	}
	return all
}

// Guards reports whether there is anything to guard.
func (p *Plan) Guards() bool { return p.of[factGuarded]+p.of[factReply]+len(p.rules) > 0 }

// tuples returns the endpoints of facts, sorted.
func tuples(fs facts) []guard.Tuple {
	slices.SortFunc(fs, fact.compare)
	all := make([]guard.Tuple, len(fs))
	for i, f := range fs {
		all[i] = f.tuple()
	}
	return all
}

// appendMatches appends the guard's matches for a mark rule.
func appendMatches(all []guard.Match, r *service.MarkRule) []guard.Match {
	for _, proto := range service.MarkProtos {
		if r.Proto == 0 || r.Proto == proto {
			all = append(all, guard.Match{
				Six: r.AF == config.IPv6, Src: r.Src, Dst: r.Dst, Proto: uint8(proto), Drop: r.Served,
				SrcPorts: [2]uint16{r.SrcPorts.First, r.SrcPorts.Last},
				DstPorts: [2]uint16{r.DstPorts.First, r.DstPorts.Last},
			})
		}
	}
	return all
}
