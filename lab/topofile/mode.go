package topofile

import (
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/forwarder/config"
	"uvs/lab"
	"uvs/sched"
)

// A mode is the word for a forwarding method, and what it needs on the real server.
type mode struct {
	word   string
	method sched.Method
}

var modes = []mode{{"nat", sched.Masq}, {"dr", sched.Route}, {"tun", sched.Tunnel}, {"fullnat", sched.FullNAT}}

const modeNames = "nat, dr, tun or fullnat"

func modeOf(word string) *mode {
	at := slices.IndexFunc(modes, func(m mode) bool { return m.word == word })
	if at < 0 {
		return nil
	}
	return &modes[at]
}

// setup returns the commands that make a node a real server by the method.
func (m *mode) setup(vips []netip.Addr) []lab.Command {
	if !m.method.Direct() {
		return nil
	}
	return lab.DirectSetup(vips...)
}

// services returns what the method needs to run on the real server.
func (m *mode) services() []lab.Service {
	if !m.method.Encapsulates() {
		return nil
	}
	return []lab.Service{lab.DecapService()}
}

// member is a real server whose mode makes it a server of each service that names none.
type member struct {
	*node  // nil where no file was read
	addr   netip.Addr
	method sched.Method
	weight string
}

// complete returns a director's ipvsadm commands with those that add the members to each service
// that the commands add no server to.
func complete(commands []lab.Command, members []member) []lab.Command {
	all := slices.Clone(commands)
	for _, k := range open(commands) {
		for _, m := range members {
			all = append(all, m.command(k))
		}
	}
	return all
}

// open returns the services that commands set up and add no server to.
func open(commands []lab.Command) (all []config.Key) {
	for _, c := range commands {
		add := lab.IPVSCommand(c)
		if add != nil && add.Op == config.OpAddService && !hasServers(commands, add.Service.Key) {
			all = append(all, add.Service.Key)
		}
	}
	return all
}

// familiesFit sees that the members can be servers of a director's services.
func (r *reader) familiesFit(director *node, members []member) {
	for _, k := range open(director.ipvsadm) {
		for _, m := range members {
			if m.addr.IsValid() && !reaches(k, m.addr, m.method) {
				r.wrong(m.first(), "%s: %s is not of the address family of %s: expected another first address, or mode: tun", m.Name, m.addr, k.Normal())
			}
		}
	}
}

// first is where the address stands by which a director reaches a member.
func (m *member) first() *yaml.Node {
	for _, p := range slices.Concat(m.interfaces, m.aliases) {
		for i, a := range p.addresses {
			if a.Prefix.Addr() == m.addr {
				return p.places[i]
			}
		}
	}
	return m.key
}

// reaches reports whether a service can have a server with an address by a method: one of the other
// family only through a tunnel.
func reaches(k config.Key, server netip.Addr, by sched.Method) bool {
	return by.Encapsulates() || config.FamilyOf(server) == k.Normal().Family
}

// hasServers reports whether one of some commands adds a server to a service.
func hasServers(commands []lab.Command, k config.Key) bool {
	return slices.ContainsFunc(commands, func(c lab.Command) bool {
		add := lab.IPVSCommand(c)
		return add != nil && add.Op == config.OpAddServer && add.Service.Key.Normal() == k.Normal()
	})
}

// command returns the command that adds a member to a service. ipvsadm takes no IPv6 address
// without a port.
func (m *member) command(k config.Key) lab.Command {
	server := m.addr.String()
	if m.addr.Is6() {
		server = netip.AddrPortFrom(m.addr, k.Port).String()
	}
	c := slices.Concat(lab.Command{"ipvsadm", "-a"}, strings.Fields(k.Normal().String()), lab.Command{"-r", server, lab.MethodOption(m.method)})
	if m.weight != "" {
		c = append(c, "-w", m.weight)
	}
	return c
}
