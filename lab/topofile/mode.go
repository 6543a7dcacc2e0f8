package topofile

import (
	"net/netip"
	"slices"
	"strings"

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
	addr   netip.Addr
	method sched.Method
	weight string
}

// complete returns a director's ipvsadm commands with those that add the members to each service
// that the commands add no server to.
func complete(commands []lab.Command, members []member) []lab.Command {
	all := slices.Clone(commands)
	for _, c := range commands {
		add := lab.IPVSCommand(c)
		if add == nil || add.Op != config.OpAddService || hasServers(commands, add.Service.Key) {
			continue
		}
		for _, m := range members {
			all = append(all, m.command(add.Service.Key))
		}
	}
	return all
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
