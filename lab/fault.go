package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"uvs/forwarder/config"
	"uvs/sched"
)

// A Fault is a mistake that can be inserted into a running lab, to be found by whoever
// learns to look for it. Codes and names are those of the findings of package doctor.
type Fault struct {
	Code string
	Name string
	Also []string // other words for it

	fits   condition
	insert func(*breaker) error
}

// A place is where a fault may be inserted: a topology and one of its real servers.
type place struct {
	*Topology
	server   *Node
	services []VirtualService
	methods  map[string]sched.Method // of real servers, by name
}

// A condition says whether a fault can be inserted at a place.
type condition func(*place) bool

// Inserted is a fault that was inserted into a lab.
type Inserted struct {
	Code string `json:"code"`
	Name string `json:"name"`
	Node string `json:"node"` // where
	What string `json:"what"` // what was done

	Service string `json:"service,omitempty"` // the real server's, in ipvsadm's words; "" if it is not known

	Hints int `json:"hints"` // how many were given, each counted once
}

// Fits reports whether the fault can be inserted into a lab of a topology.
func (f *Fault) Fits(t *Topology) bool { return len(f.servers(t)) > 0 }

// servers returns the real servers by way of which the fault can be inserted.
func (f *Fault) servers(t *Topology) (all []*Node) {
	if t.Director() == nil {
		return nil
	}
	p := place{Topology: t, services: t.VirtualServices(), methods: t.Methods()}
	for _, p.server = range t.RealServers() {
		if f.fits(&p) {
			all = append(all, p.server)
		}
	}
	return all
}

// FindFault returns the fault with a code or name.
func FindFault(word string) (*Fault, error) {
	for i := range Faults {
		f := &Faults[i]
		number := strings.TrimLeft(strings.TrimPrefix(f.Code, "LVS"), "0")
		if strings.EqualFold(f.Code, word) || number == word || f.Name == word || slices.Contains(f.Also, word) {
			return f, nil
		}
	}
	return nil, fmt.Errorf("lab: no fault %q, there are %s; or random", word, strings.Join(FaultNames(), ", "))
}

// FaultNames returns the names of all faults in the order of their codes.
func FaultNames() (names []string) {
	for i := range Faults {
		names = append(names, Faults[i].Name)
	}
	return names
}

// RandomFault returns one of the faults that fit a topology: the same one for the same seed.
func RandomFault(t *Topology, seed uint64) (*Fault, error) {
	var fit []*Fault
	for i := range Faults {
		if Faults[i].Fits(t) {
			fit = append(fit, &Faults[i])
		}
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("lab: no fault fits %s", t.Name)
	}
	return fit[rand.New(rand.NewPCG(seed, 0)).IntN(len(fit))], nil
}

// Break inserts a fault and notes it for [Lab.Inserted]. The seed chooses the real server
// and the form of the fault.
func (l *Lab) Break(f *Fault, seed uint64) error {
	servers := f.servers(&l.Topology)
	if len(servers) == 0 {
		return fmt.Errorf("lab: %s does not fit %s: nothing there depends on it", f.Name, l.Topology.Name)
	}
	if l.Topology.Bare {
		if rules, err := l.Exec(l.Topology.Director().Name, "ipvsadm", "-Sn"); err != nil || rules == "" {
			return fmt.Errorf("lab: %s is bare and has no services yet: type its commands first", l.Name)
		}
	}
	b := &breaker{Lab: l, random: rand.New(rand.NewPCG(seed, 1)), vip: l.Topology.VIP}
	b.server, b.director = servers[b.random.IntN(len(servers))], l.Topology.Director()
	b.Node, b.virtual = b.server.Name, l.Topology.serviceOf(b.server)
	if err := f.insert(b); err != nil {
		return fmt.Errorf("lab: break %s: %w", f.Name, err)
	}
	return l.send(request{Op: opBreak, Fault: &Inserted{Code: f.Code, Name: f.Name, Node: b.Node,
		What: strings.Join(b.done, "; "), Service: b.service()}})
}

// Inserted returns the faults that were inserted, the last one first.
func (l *Lab) Inserted() ([]Inserted, error) {
	a, files, err := call(l.socket, request{Op: opReveal})
	closeAll(files)
	return a.Inserted, err
}

// faultLog keeps the inserted faults, out of sight of everything but opReveal.
type faultLog struct {
	mu  sync.Mutex
	all []Inserted // the last one first
}

// note adds a fault, unless it is nil, and returns all.
func (l *faultLog) note(f *Inserted) []Inserted {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f == nil {
		return slices.Clone(l.all)
	}
	l.all = slices.Insert(l.all, 0, *f)
	return nil
}

// hint counts a hint about the last fault, up to as many as there are, and returns that fault
// alone.
func (l *faultLog) hint() []Inserted {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return nil
	}
	l.all[0].Hints = min(l.all[0].Hints+1, Hints)
	return slices.Clone(l.all[:1])
}

// swap ends a service, and starts another command in its place if one is given. When the
// service is killed and started again, it is itself again.
func (s *supervisor) swap(c *net.UnixConn, h *host, to *Service) error {
	i := slices.IndexFunc(s.services, func(r *running) bool { return r.host == h && to != nil && r.Name == to.Name })
	if i < 0 {
		return errors.New("lab: no such service")
	}
	r := s.services[i]
	r.kill()
	if len(to.Command) > 0 {
		other := &running{Service: *to, host: h, log: r.log}
		if err := s.launch(other); err != nil {
			return err
		}
		r.mu.Lock()
		r.proc = other.proc
		r.mu.Unlock()
		if err := other.await(); err != nil {
			return err
		}
	}
	return reply(c, answer{Started: true})
}

// breaker inserts a fault.
type breaker struct {
	*Lab
	random   *rand.Rand
	vip      netip.Addr
	server   *Node // the real server that was chosen
	director *Node
	virtual  VirtualService // that the server is in; the first, if it is in none

	Node string   // where the fault is
	done []string // what was done
}

// run runs a command on a node, and notes it.
func (b *breaker) run(node string, argv ...string) error {
	b.done = append(b.done, fmt.Sprintf("%s# %s", node, Command(argv)))
	_, err := b.Exec(node, argv...)
	return err
}

// each runs commands one after the other.
func (b *breaker) each(node string, commands ...Command) error {
	b.Node = node
	for _, c := range commands {
		if err := b.run(node, c...); err != nil {
			return err
		}
	}
	return nil
}

// swap gives a service of a node other arguments, or kills it without any.
func (b *breaker) swap(node *Node, service string, extra ...string) error {
	i := slices.IndexFunc(node.Services, func(s Service) bool { return s.Name == service })
	if i < 0 {
		return fmt.Errorf("%s has no service %s", node.Name, service)
	}
	to := node.Services[i]
	to.Command = nil
	b.Node = node.Name
	if len(extra) > 0 {
		to.Command = append(slices.Clone(node.Services[i].Command), extra...)
		b.done = append(b.done, fmt.Sprintf("%s# %s", node.Name, to.Command))
		if extra[0] == "--listen" {
			to.Ready = "tcp:" + extra[1]
		}
	} else {
		b.done = append(b.done, fmt.Sprintf("%s: %s was killed", node.Name, service))
	}
	return b.send(request{Op: opSwap, Node: node.Name, Swap: &to})
}

// ip returns the command ip(8) with arguments, for the lab's address family.
func (b *breaker) ip(words ...string) Command {
	if b.vip.Is6() {
		return append(Command{"ip", "-6"}, words...)
	}
	return append(Command{"ip"}, words...)
}

// addAddress returns the command that gives an interface an address.
func (b *breaker) addAddress(a netip.Prefix, link string) Command {
	c := b.ip("addr", "add", a.String(), "dev", link)
	if b.vip.Is6() && link != "lo" {
		c = append(c, "nodad")
	}
	return c
}

// service is the virtual service in ipvsadm's words; "" if nothing is known of services.
func (b *breaker) service() string {
	if b.virtual.Key == (config.Key{}) {
		return ""
	}
	return b.virtual.Key.String()
}

// at is the address and port of the lab's virtual service.
func (b *breaker) at() string { return b.Topology.At().String() }

// serviceOf returns the first service that has a node as a server; the first of all if none has.
func (t *Topology) serviceOf(n *Node) (v VirtualService) {
	all := t.VirtualServices()
	at := slices.IndexFunc(all, func(v VirtualService) bool {
		return slices.ContainsFunc(v.Servers, func(s config.Server) bool { return n.Has(s.Addr) })
	})
	if len(all) == 0 {
		return v
	}
	return all[max(at, 0)]
}

// unused returns an address beside another one that no node has.
func unused(a netip.Addr) netip.Addr {
	b := a.AsSlice()
	b[len(b)-1] = 250
	out, _ := netip.AddrFromSlice(b)
	return out
}
