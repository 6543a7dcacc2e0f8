package doctor

import (
	"net/netip"
	"slices"
	"time"

	"uvs/forwarder/config"
	"uvs/lab"
)

// Host is what was seen on a host, in one network namespace.
type Host struct {
	Name       string            `json:"name"`
	Time       time.Time         `json:"time"`
	Links      []Link            `json:"links"`
	Addresses  []Address         `json:"addresses"`
	Routes     []Route           `json:"routes"`
	Ways       map[string]Way    `json:"ways"` // the kernel's answers about addresses that matter
	Neighbours []Neighbour       `json:"neighbours,omitempty"`
	Sysctls    map[string]string `json:"sysctls"`
	Listeners  []Listener        `json:"listeners"`
	Clients    []ClientSocket    `json:"clients,omitempty"`
	Decap      bool              `json:"decap,omitempty"` // something takes IP-in-IP headers off
	Rules      []FilterRule      `json:"rules,omitempty"` // that can drop something
	Guarded    bool              `json:"guarded"`         // the director's own table is there
	Tracked    Tracked           `json:"tracked"`
	Director   *Director         `json:"director,omitempty"`
	Sight      Sight             `json:"sight"`
	// Unseen lists what could not be read, and why.
	Unseen []string `json:"unseen,omitempty"`
}

// Link is an interface.
type Link struct {
	Index    int    `json:"index"`
	Name     string `json:"name"`
	MAC      string `json:"mac"`
	MTU      int    `json:"mtu"`
	Up       bool   `json:"up"`
	Loopback bool   `json:"loopback,omitempty"`
	Kind     string `json:"kind,omitempty"`
	LRO      bool   `json:"lro,omitempty"`
}

// Address is an address of an interface.
type Address struct {
	Link   string       `json:"link"`
	Prefix netip.Prefix `json:"prefix"`
}

// Route is an entry of the main routing table.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Link    string       `json:"link"`
}

// Way is how the kernel would send a packet to an address.
type Way struct {
	Gateway netip.Addr `json:"gateway,omitzero"` // not set: the address is on the link
	Source  netip.Addr `json:"source,omitzero"`
	Link    string     `json:"link,omitempty"`
	Local   bool       `json:"local,omitempty"` // the address is the host's own
	Error   string     `json:"error,omitempty"` // there is none
}

// Neighbour is an entry of the kernel's neighbour table.
type Neighbour struct {
	Addr   netip.Addr `json:"addr"`
	MAC    string     `json:"mac,omitempty"`
	Link   string     `json:"link"`
	Failed bool       `json:"failed,omitempty"` // asked for in vain
}

// Listener is a socket that waits for clients.
type Listener struct {
	Proto string         `json:"proto"` // tcp or udp
	Addr  netip.AddrPort `json:"addr"`
}

// ClientSocket is a TCP socket whose connection has been asked for and not answered.
type ClientSocket struct {
	Remote  netip.AddrPort `json:"remote"`
	PID     int            `json:"pid,omitempty"`
	Command string         `json:"command,omitempty"`
}

// Tracked is the state of the kernel's connection tracking.
type Tracked struct {
	Count int `json:"count"`
	Max   int `json:"max"`
	// Halves are the virtual addresses, with ports, of TCP entries that saw a SYN and no
	// answer, with how many there are.
	Halves map[string]int `json:"halves,omitempty"`
}

// Director is what the director itself says.
type Director struct {
	PID        int                   `json:"pid"`
	Interfaces []string              `json:"interfaces,omitempty"` // empty: all
	Services   []config.ServiceState `json:"services"`
	Timeouts   config.Timeouts       `json:"timeouts"`
	Sysctls    []config.Sysctl       `json:"sysctls"`
	Marks      []config.MarkRule     `json:"marks"`
	Conns      []config.Connection   `json:"connections,omitempty"` // of some only: see maxConns
	Counters   map[string]uint64     `json:"counters"`
	// Lacks are capabilities that its process does not have.
	Lacks []string `json:"lacks,omitempty"`
	// Probes are what servers answered that were asked once: see Probe.
	Probes []config.CheckState `json:"probes,omitempty"`
	// Others are the directors beside it that serve some of its addresses.
	Others []Other `json:"others,omitempty"`
	// Silent are the virtual addresses that another director answers for now.
	Silent []netip.Addr `json:"silent,omitempty"`
	// Rose are the counters that rose while packets were looked at, and by how much; Gained
	// is the same of servers, by target.name.
	Rose   map[string]uint64 `json:"rose,omitempty"`
	Gained map[string]Gain   `json:"gained,omitempty"`
}

// Other is another director of the network namespace.
type Other struct {
	PID    int        `json:"pid"`
	Socket string     `json:"socket"`
	Addr   netip.Addr `json:"addr"` // that both serve
}

// Gain is what a server got and sent back while packets were looked at.
type Gain struct {
	Conns   uint64 `json:"connections"`
	InPkts  uint64 `json:"packets_in"`
	OutPkts uint64 `json:"packets_out"`
}

// named returns the host with a name, or nil.
func (s *Scene) named(name string) *Host {
	for _, h := range s.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// director returns the host of the director that serves: of two, the one that has the
// virtual address.
func (s *Scene) director() *Host {
	all := s.directors()
	for _, h := range all {
		if s.Lab != nil && slices.ContainsFunc(s.Lab.VIPs(), h.has) {
			return h
		}
	}
	return all[0]
}

// Serving returns the name of the host whose director serves.
func (s *Scene) Serving() string { return s.director().Name }

// directors returns the hosts on which directors run or should.
func (s *Scene) directors() (all []*Host) {
	for i := range s.nodes() {
		if h := s.named(s.Lab.Nodes[i].Name); h != nil && s.Lab.Nodes[i].Role == lab.Director {
			all = append(all, h)
		}
	}
	if len(all) == 0 {
		return s.Hosts[:1]
	}
	return all
}

// nodes returns the lab's plan of its nodes, none outside a lab.
func (s *Scene) nodes() []lab.Node {
	if s.Lab == nil {
		return nil
	}
	return s.Lab.Nodes
}

// services returns the director's services, none if it does not answer.
func (s *Scene) services() []config.ServiceState {
	if d := s.director().Director; d != nil {
		return d.Services
	}
	return nil
}

// owner returns the host whose address it is, or nil. The virtual address is the
// director's.
func (s *Scene) owner(a netip.Addr) *Host {
	for _, h := range s.Hosts {
		if h.has(a) && (h == s.director() || !s.virtual(a)) {
			return h
		}
	}
	return nil
}

// virtual reports whether an address is one of the director's services.
func (s *Scene) virtual(a netip.Addr) bool {
	return slices.Contains(s.virtuals(), a)
}

// virtuals returns the addresses of the services, and the lab's virtual addresses.
func (s *Scene) virtuals() (all []netip.Addr) {
	if s.Lab != nil {
		all = append(all, s.Lab.VIPs()...)
	}
	for _, svc := range s.services() {
		if svc.Addr.IsValid() && !slices.Contains(all, svc.Addr) {
			all = append(all, svc.Addr)
		}
	}
	return all
}

// has reports whether the host has an address on an interface.
func (h *Host) has(a netip.Addr) bool { return h.holds(a) != nil }

// holds returns the host's interface address for an address, or nil.
func (h *Host) holds(a netip.Addr) *Address {
	for i := range h.Addresses {
		if h.Addresses[i].Prefix.Addr() == a {
			return &h.Addresses[i]
		}
	}
	return nil
}

func (h *Host) link(name string) *Link {
	for i := range h.Links {
		if h.Links[i].Name == name {
			return &h.Links[i]
		}
	}
	return nil
}

// number returns a parameter as a number, 0 if there is none.
func (h *Host) number(key string) int {
	n := 0
	for _, c := range h.Sysctls[key] {
		if c < '0' || c > '9' {
			return n
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// conf returns a parameter of net.ipv4.conf as it acts on a link: the larger of the link's
// and that of all (Documentation/networking/ip-sysctl.rst, for rp_filter, arp_ignore and
// arp_announce).
func (h *Host) conf(link, key string) int {
	return max(h.number("net.ipv4.conf.all."+key), h.number("net.ipv4.conf."+link+"."+key))
}

// covering returns the most specific route of the main table to an address, or nil.
func (h *Host) covering(a netip.Addr) *Route {
	var best *Route
	for i := range h.Routes {
		r := &h.Routes[i]
		if r.Dst.Contains(a) && (best == nil || r.Dst.Bits() > best.Dst.Bits()) {
			best = r
		}
	}
	return best
}
