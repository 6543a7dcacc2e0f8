package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
	"uvs/sched"
)

// VirtualService is a service as the set-up commands of a topology's director make it.
type VirtualService struct {
	config.Service
	Servers []config.Server
}

// VirtualServices returns what the ipvsadm commands of the director's set-up make, in their
// order. Commands that are wrong are left out; where something else configures the director,
// as keepalived does, there are none.
func (t *Topology) VirtualServices() (all []VirtualService) {
	d := t.byRole(Director)
	if d == nil {
		return nil
	}
	for _, c := range d.Setup {
		if c := IPVSCommand(c); c != nil && c.Service != nil {
			all = applied(all, c)
		}
	}
	return all
}

// IPVSCommand reads a command of ipvsadm that changes the table of services; nil if it is
// something else.
func IPVSCommand(c Command) *config.Command {
	if r, err := IPVSRule(c); err == nil && r != nil {
		return r.Command
	}
	return nil
}

// IPVSRule reads a command of ipvsadm that changes something. The error says what is wrong
// with another one. Names of hosts and ports are not resolved: a lab has no name server.
func IPVSRule(c Command) (*ipvsadm.Rule, error) {
	if len(c) < 2 || c[0] != "ipvsadm" {
		return nil, fmt.Errorf("%s is no command of ipvsadm", c)
	}
	return ipvsadm.ParseRule(c[1:].String(), numbers{})
}

// applied returns services after another command.
func applied(all []VirtualService, c *config.Command) []VirtualService {
	at := slices.IndexFunc(all, func(v VirtualService) bool { return v.Key.Normal() == c.Service.Key.Normal() })
	switch {
	case c.Op == config.OpAddService && at < 0:
		return append(all, VirtualService{Service: *c.Service})
	case at < 0:
	case c.Op == config.OpAddServer && c.Server != nil:
		all[at].Servers = append(all[at].Servers, *c.Server)
	case c.Op == config.OpAddLocal:
		all[at].Local = append(all[at].Local, c.Local)
	}
	return all
}

// numbers are names for ipvsadm on a machine that knows none.
type numbers struct{}

func (numbers) Host(string) (netip.Addr, bool)             { return netip.Addr{}, false }
func (numbers) HostOf(netip.Addr) (string, bool)           { return "", false }
func (numbers) Port(string, config.Proto) (uint16, bool)   { return 0, false }
func (numbers) PortOf(uint16, config.Proto) (string, bool) { return "", false }

// VIPs returns the virtual addresses, none if there are none.
func (t *Topology) VIPs() []netip.Addr {
	if !t.VIP.IsValid() {
		return nil
	}
	return append([]netip.Addr{t.VIP}, t.MoreVIPs...)
}

// IsVIP reports whether an address is one of the virtual addresses.
func (t *Topology) IsVIP(a netip.Addr) bool { return slices.Contains(t.VIPs(), a) }

// URL returns the address of a page of the virtual web service; of the first, if there are
// several.
func (t *Topology) URL(path string) string { return t.urlAt(t.VIP, path) }

// URLs returns the addresses of a page at each of the virtual addresses.
func (t *Topology) URLs(path string) (all []string) {
	for _, vip := range t.VIPs() {
		all = append(all, t.urlAt(vip, path))
	}
	return all
}

func (t *Topology) urlAt(vip netip.Addr, path string) string {
	host := vip.String()
	if vip.Is6() {
		host = "[" + host + "]"
	}
	if port := t.portOf(vip); port != 80 {
		host += ":" + strconv.Itoa(int(port))
	}
	return "http://" + host + path
}

// portOf returns the port of the first TCP service of a virtual address, 80 if there is none.
func (t *Topology) portOf(vip netip.Addr) uint16 {
	for _, v := range t.VirtualServices() {
		if v.Addr == vip && v.Proto == config.TCP && v.Port != 0 {
			return v.Port
		}
	}
	return 80
}

// At returns the address and port of the virtual web service.
func (t *Topology) At() netip.AddrPort { return netip.AddrPortFrom(t.VIP, t.portOf(t.VIP)) }

// Client returns the first client, or nil.
func (t *Topology) Client() *Node { return t.byRole(Client) }

// Director returns the first director, or nil.
func (t *Topology) Director() *Node { return t.byRole(Director) }

// Methods returns the forwarding methods by which the director reaches nodes, by their names;
// of a node that it reaches by several, the first.
func (t *Topology) Methods() map[string]sched.Method {
	all := map[string]sched.Method{}
	owners := map[netip.Addr]string{}
	for _, n := range t.RealServers() {
		for _, i := range n.Interfaces {
			for _, a := range i.Addresses {
				owners[a.Prefix.Addr()] = n.Name
			}
		}
	}
	for _, v := range t.VirtualServices() {
		for _, s := range v.Servers {
			name, known := owners[s.Addr]
			if _, had := all[name]; known && !had {
				all[name] = s.Method
			}
		}
	}
	return all
}

// MethodOption returns ipvsadm's option for a forwarding method.
func MethodOption(m sched.Method) string {
	if l := m.Traits().Letter; l != 0 {
		return "-" + string(l)
	}
	return "--" + m.Traits().Option
}

// Has reports whether the topology gives a node an address.
func (n *Node) Has(a netip.Addr) bool {
	return slices.ContainsFunc(n.Interfaces, func(i Interface) bool {
		return slices.ContainsFunc(i.Addresses, func(p Address) bool { return p.Prefix.Addr() == a })
	})
}

// words returns the service in ipvsadm's words: "-t", "10.0.0.1:80".
func (v *VirtualService) words() []string { return strings.Fields(v.Key.String()) }
