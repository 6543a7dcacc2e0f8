package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/forwarder/config"
	"uvs/lab"
)

func init() {
	checks = append(checks, checkDirector, checkGuard, checkServices, checkSettings, checkSelf)
}

// checkDirector looks whether there is a director, and whether it has services.
func checkDirector(s *Scene) (found []Finding) {
	for _, h := range s.directors() {
		if h.Director != nil {
			continue
		}
		f := find(NoDirector, Error, h, "no director answers", "nobody listens on the control socket").fixed("", "uvs director")
		if s.Lab != nil {
			f.Fix = []Fix{s.inLab("start", h)}
		}
		found = append(found, f)
	}
	h := s.director()
	if h.Director == nil || len(h.Director.Services) > 0 || s.Lab == nil || s.Lab.Bare {
		return found
	}
	if len(s.setup()) == 0 && !s.Lab.Paired() {
		return found // it is not to have any
	}
	f := find(RulesLost, Error, h, "the director has no services", "ipvsadm -Ln lists none")
	return append(found, f.fixed(h.Name, s.setup()...))
}

// setup returns the commands of the lab's plan that make the director's services.
func (s *Scene) setup() (commands []string) {
	for _, c := range s.Lab.Node(s.director().Name).Setup {
		if c[0] == "ipvsadm" {
			commands = append(commands, c.String())
		}
	}
	return commands
}

// checkGuard looks whether the host's own stack is kept from what the director serves.
func checkGuard(s *Scene) (found []Finding) {
	h := s.director()
	if h.Director == nil || len(h.Director.Services) == 0 || h.Guarded || len(h.Director.Silent) > 0 {
		return nil
	}
	for _, vip := range s.virtuals() {
		if a := h.holds(vip); a != nil {
			found = append(found, s.unguarded(find(KernelRST, Error, h, fmt.Sprintf("the kernel answers for %s too", vip),
				fmt.Sprintf("%s is on %s of the director, and there is no table \"netdev uvs\": nft list tables", a.Prefix, a.Link))))
			break
		}
	}
	for _, t := range s.targets() {
		forward := "net.ipv4.ip_forward"
		if t.server.Addr.Is6() {
			forward = "net.ipv6.conf.all.forwarding"
		}
		if t.server.Method.Masquerades() && h.number(forward) == 1 {
			return append(found, s.unguarded(find(DoubleForward, Error, h, "the kernel forwards the servers' replies too",
				forward+" = 1 on the director, and there is no table \"netdev uvs\": nft list tables",
				fmt.Sprintf("%s is a server by %s", t.server.AddrPort(), t.server.Method.Traits().Word))))
		}
	}
	return found
}

// unguarded adds how to start the director with its guard.
func (s *Scene) unguarded(f Finding) Finding {
	f.Evidence = append(f.Evidence, "the director was started with --no-guard, or the kernel lacks nf_tables_netdev")
	if s.Lab == nil {
		return f.fixed("", "uvs director --replace")
	}
	f.Fix = []Fix{s.inLab("kill", s.director()), s.inLab("start", s.director())}
	return f
}

// checkServices looks at each service's configuration.
func checkServices(s *Scene) (found []Finding) {
	services := s.services()
	for i := range services {
		svc := &services[i]
		for _, check := range []func(*Scene, *config.ServiceState) (Finding, bool){noServer, persistent, localAddress, mapped, unmarked} {
			if f, ok := check(s, svc); ok {
				found = append(found, f)
			}
		}
	}
	return found
}

func noServer(s *Scene, svc *config.ServiceState) (f Finding, found bool) {
	if slices.ContainsFunc(svc.Servers, func(r config.ServerState) bool { return r.Weight > 0 && !r.Overloaded }) {
		return f, false
	}
	d := s.director()
	f = find(NoServer, Error, d, fmt.Sprintf("no server of %s takes new connections", key(svc)))
	if len(svc.Servers) == 0 {
		f.Evidence = append(f.Evidence, key(svc)+" has no servers")
		if s.Lab == nil {
			return f.fixed(d.Name, fmt.Sprintf("ipvsadm -a %s -r SERVER:%d -m", key(svc), svc.Port)), true
		}
		for _, c := range s.setup() {
			if strings.HasPrefix(c, "ipvsadm -a "+key(svc)+" ") {
				f = f.fixed(d.Name, c)
			}
		}
		return f, true
	}
	for _, r := range svc.Servers {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s -r %s: weight %d, upper threshold %d", key(svc), r.AddrPort(), r.Weight, r.Upper))
		f = f.fixed(d.Name, fmt.Sprintf("ipvsadm -e %s -r %s %s -w %d", key(svc), r.AddrPort(), option(&r), max(r.Weight, 1)))
	}
	return f, true
}

// option returns ipvsadm's option for a server's method.
func option(r *config.ServerState) string {
	if l := r.Method.Traits().Letter; l != 0 {
		return "-" + string(l)
	}
	return "--" + r.Method.Traits().Option
}

// persistent looks whether persistence is what makes a scheduler look wrong: all clients, of
// which there are fewer than servers, are on one server.
func persistent(s *Scene, svc *config.ServiceState) (f Finding, found bool) {
	if svc.Persistent == 0 || len(svc.Servers) < 2 {
		return f, false
	}
	var conns, most uint64
	for _, r := range svc.Servers {
		conns, most = conns+r.Stats.Conns, max(most, r.Stats.Conns)
	}
	const enough = 4 // connections that rr would have spread
	if s.Lab == nil && (conns < enough || conns != most) {
		return f, false
	}
	d := s.director()
	f = find(Persistence, Warning, d, fmt.Sprintf("%s keeps each client on one server for %d s", key(svc), svc.Persistent),
		fmt.Sprintf("-A %s -s %s -p %d", key(svc), svc.Scheduler, svc.Persistent),
		fmt.Sprintf("%d of %d connections went to one of %d servers", most, conns, len(svc.Servers)))
	return f.fixed(d.Name, fmt.Sprintf("ipvsadm -E %s -s %s", key(svc), svc.Scheduler)), true
}

// localAddress looks at FULLNAT's local addresses, to which servers answer.
func localAddress(s *Scene, svc *config.ServiceState) (f Finding, found bool) {
	d := s.director()
	if !slices.ContainsFunc(svc.Servers, func(r config.ServerState) bool { return r.Method.NeedsLocal() }) {
		return f, false
	}
	for _, a := range svc.Local {
		if d.onLink(a) || d.has(a) {
			continue
		}
		f = find(LocalAddress, Error, d, fmt.Sprintf("servers have no way to the local address %s of %s", a, key(svc)),
			fmt.Sprintf("ipvsadm --add-laddr %s --laddr %s", key(svc), a), "no interface of the director is in a network with it")
		f = f.fixed(d.Name, fmt.Sprintf("ipvsadm --del-laddr %s --laddr %s", key(svc), a))
		if better := s.localFor(svc); better.IsValid() && len(svc.Local) == 1 {
			f = f.fixed(d.Name, fmt.Sprintf("ipvsadm --add-laddr %s --laddr %s", key(svc), better))
		}
		return f, true
	}
	return f, false
}

// localFor returns an address that servers can answer to: the one of the lab's plan, else
// that from which the director would send to a server.
func (s *Scene) localFor(svc *config.ServiceState) netip.Addr {
	if s.Lab != nil {
		for _, c := range s.Lab.Node(s.director().Name).Setup {
			if i := slices.Index(c, "--laddr"); i > 0 && slices.Contains(c, netip.AddrPortFrom(svc.Addr, svc.Port).String()) {
				a, _ := netip.ParseAddr(c[i+1])
				return a
			}
		}
	}
	return s.director().Ways[svc.Servers[0].Addr.String()].Source
}

// mapped looks for servers without port mapping whose port is not the service's.
func mapped(s *Scene, svc *config.ServiceState) (f Finding, found bool) {
	for _, r := range svc.Servers {
		if svc.Port == 0 || !r.Method.Direct() || r.Port == svc.Port || r.Port == 0 {
			continue
		}
		d := s.director()
		return find(PortMap, Error, d, fmt.Sprintf("%s: the port of %s has no effect", key(svc), r.AddrPort()),
			fmt.Sprintf("%s -r %s is by %s", key(svc), r.AddrPort(), r.Method.Traits().Word)).
			fixed(d.Name, fmt.Sprintf("ipvsadm -d %s -r %s", key(svc), r.AddrPort())), true
	}
	return f, false
}

// unmarked looks for a service by mark that no rule feeds.
func unmarked(s *Scene, svc *config.ServiceState) (f Finding, found bool) {
	d := s.director()
	if svc.Mark == 0 || slices.ContainsFunc(d.Director.Marks, func(r config.MarkRule) bool { return r.Mark == svc.Mark }) {
		return f, false
	}
	return find(MarkUnset, Error, d, fmt.Sprintf("no packet gets the mark %d of %s", svc.Mark, key(svc)),
		"uvs mark lists no rule that sets it; the host's own iptables rules do not count").
		fixed(d.Name, "ipvsadm -D "+key(svc)), true
}

// checkSettings looks at timeouts, parameters, interfaces and rings.
func checkSettings(s *Scene) (found []Finding) {
	h := s.director()
	if h.Director == nil {
		return nil
	}
	const longFin = 900 // seconds: as long as an established connection may be idle by default
	if t := h.Director.Timeouts; t.TCPFin > longFin {
		found = append(found, find(InactiveGrows, Warning, h, fmt.Sprintf("closed connections stay for %d s", t.TCPFin),
			fmt.Sprintf("ipvsadm --set %d %d %d; the default is 900 120 300", t.TCP, t.TCPFin, t.UDP)).
			fixed(h.Name, "ipvsadm --set 0 120 0"))
	}
	for _, name := range []string{"drop_packet", "drop_entry"} {
		if h.Director.sysctl(name) == "3" {
			found = append(found, find(DropRate, Error, h, "the director drops on purpose, whether memory is short or not",
				"net.ipv4.vs."+name+" = 3").fixed(h.Name, "sysctl -w net.ipv4.vs."+name+"=0"))
		}
	}
	if n := h.Director.Rose["port-ring-drops"]; n > 0 {
		found = append(found, find(RingDrops, Warning, h, fmt.Sprintf("%d frames were lost before the director saw them", n),
			fmt.Sprintf("port-ring-drops rose by %d in %.1f s", n, h.Sight.Seconds)).
			fixed(h.Name, "uvs director --replace --profile throughput"))
	}
	return append(found, leftOut(s, h)...)
}

// leftOut looks for ways to servers by interfaces on which the director does not work.
func leftOut(s *Scene, h *Host) (found []Finding) {
	if len(h.Director.Interfaces) == 0 {
		return nil
	}
	for _, t := range s.targets() {
		w := h.Ways[t.server.Addr.String()]
		if w.Link == "" || w.Local || slices.Contains(h.Director.Interfaces, w.Link) {
			continue
		}
		f := find(LeftOut, Error, h, fmt.Sprintf("the director does not work on %s, by which %s is reached", w.Link, t.server.Addr),
			"uvs director -i "+strings.Join(h.Director.Interfaces, " -i "), fmt.Sprintf("the route to %s is by %s", t.server.Addr, w.Link))
		if s.Lab != nil {
			f.Fix = []Fix{s.inLab("kill", h), s.inLab("start", h)}
			return append(found, f)
		}
		return append(found, f.fixed("", "uvs director --replace -i "+strings.Join(append(h.Director.Interfaces, w.Link), " -i ")))
	}
	return nil
}

// checkSelf looks for clients on the director itself whose server cannot answer them.
func checkSelf(s *Scene) (found []Finding) {
	h := s.director()
	for _, t := range s.targets() {
		if !t.direct() || t.host == h && s.Lab != nil || h.Ways[t.server.Addr.String()].Local {
			continue
		}
		i := slices.IndexFunc(h.Clients, func(c ClientSocket) bool {
			return c.Remote == netip.AddrPortFrom(t.service.Addr, t.service.Port) && c.PID != h.Director.PID // its probes
		})
		if i < 0 || !h.has(t.service.Addr) {
			continue
		}
		c := h.Clients[i]
		f := find(SelfClient, Error, h, fmt.Sprintf("a client on the director asks %s and gets no answer", c.Remote),
			fmt.Sprintf("process %d (%s) waits for %s", c.PID, c.Command, c.Remote))
		for _, conn := range s.director().connections() {
			if h.has(conn.Client.Addr()) && conn.State == "SYN_RECV" {
				f.Evidence = append(f.Evidence, fmt.Sprintf("connection %s → %s is in SYN_RECV", conn.Client, conn.Server))
				break
			}
		}
		return append(found, f.fixed(h.Name, fmt.Sprintf("kill %d", c.PID)))
	}
	return nil
}

func (h *Host) connections() []config.Connection {
	if h.Director == nil {
		return nil
	}
	return h.Director.Conns
}

// role returns what a host of a lab is for.
func (s *Scene) role(h *Host) lab.Role {
	if s.Lab == nil {
		return lab.Director
	}
	if n := s.Lab.Node(h.Name); n != nil {
		return n.Role
	}
	return ""
}
