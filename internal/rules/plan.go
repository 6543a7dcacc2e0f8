package rules

import (
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
	"uvs/internal/mark"
)

// Plan has the changes that turn one configuration into another.
type Plan struct {
	Commands []config.Command     // to be applied atomically
	Marks    []config.MarkRule    // all rules for marks; nil: no change
	Timeouts config.Timeouts      // those to change; 0: no change
	Stop     []config.DaemonState // daemons to stop, before those to start
	Start    []config.Daemon
	Sysctls  []config.Sysctl // parameters to change
}

// Lines returns the plan as the lines of a rules file; none if there is nothing to do.
func (p *Plan) Lines() []string {
	var lines []string
	for _, c := range p.Commands {
		lines = append(lines, ipvsadm.FormatCommand(c))
	}
	for _, v := range p.Sysctls {
		lines = append(lines, formatSysctl(v))
	}
	if p.Marks != nil {
		lines = append(lines, mark.Lines(p.Marks)...)
	}
	if p.Timeouts != (config.Timeouts{}) {
		lines = append(lines, ipvsadm.FormatTimeouts(p.Timeouts))
	}
	for _, state := range p.Stop {
		lines = append(lines, "--stop-daemon "+string(state))
	}
	for _, d := range p.Start {
		lines = append(lines, ipvsadm.FormatDaemon(d))
	}
	return lines
}

// Diff finds the fewest commands that turn current into wanted. Whatever is the same in
// both is not changed, so its connections and counters stay.
func Diff(current, wanted *Rules) *Plan {
	p := &Plan{Commands: diffServices(current.Services, wanted.Services)}
	p.Timeouts = diffTimeouts(current.Timeouts, wanted.Timeouts)
	if wanted.Marks != nil && !slices.Equal(current.Marks, wanted.Marks) {
		p.Marks = wanted.Marks
	}
	if len(wanted.Daemons) > 0 {
		p.diffDaemons(current.Daemons, wanted.Daemons)
	}
	for _, v := range wanted.Sysctls {
		same := func(w config.Sysctl) bool { return w.Name == v.Name && w.Value == v.Value }
		if !slices.ContainsFunc(current.Sysctls, same) {
			p.Sysctls = append(p.Sysctls, v)
		}
	}
	return p
}

func diffServices(current, wanted []Service) []config.Command {
	have, want := byKey(current), byKey(wanted)
	var commands []config.Command
	for _, v := range current {
		if want[v.Key.Normal()] == nil {
			commands = append(commands, command(config.OpDeleteService, config.Service{Key: v.Key}))
		}
	}
	var fresh []Service
	for _, v := range wanted {
		if old := have[v.Key.Normal()]; old != nil {
			commands = append(commands, diffService(old, &v)...)
		} else {
			fresh = append(fresh, v)
		}
	}
	return add(commands, fresh)
}

func byKey(services []Service) map[config.Key]*Service {
	m := map[config.Key]*Service{}
	for i := range services {
		m[services[i].Key.Normal()] = &services[i]
	}
	return m
}

func command(op config.Op, v config.Service) config.Command {
	return config.Command{Op: op, Service: &v}
}

// add appends the commands that add services.
func add(commands []config.Command, services []Service) []config.Command {
	for _, v := range services {
		commands = append(commands, command(config.OpAddService, without(v.Service)))
		commands = diffLocal(commands, v.Key, nil, v.Local)
		commands = diffPolicy(commands, v.Key, config.Policy{}, v.Policy)
		commands = setSynProxy(commands, v.Key, true, v.SynProxy)
		commands = diffVIPRole(commands, v.Key, config.VIPDefault, v.VIPRole)
		commands = diffChecks(commands, v.Key, nil, v.Checks)
		for _, s := range v.Servers {
			commands = append(commands, serverCommand(config.OpAddServer, v.Key, s))
		}
	}
	return commands
}

// without returns a service as in -A and -E, without what these do not say.
func without(v config.Service) config.Service {
	v.Local, v.Policy, v.SynProxy, v.VIPRole, v.Checks = nil, config.Policy{}, false, config.VIPDefault, nil
	return v
}

func serverCommand(op config.Op, k config.Key, s config.Server) config.Command {
	c := command(op, config.Service{Key: k})
	c.Server = &s
	return c
}

func diffService(old, wanted *Service) []config.Command {
	var commands []config.Command
	if !sameSettings(old.Service, wanted.Service) {
		commands = append(commands, command(config.OpEditService, without(wanted.Service)))
	}
	commands = diffLocal(commands, old.Key, old.Local, wanted.Local)
	commands = diffPolicy(commands, old.Key, old.Policy, wanted.Policy)
	commands = diffVIPRole(commands, old.Key, old.VIPRole, wanted.VIPRole)
	differs := old.SynProxy != wanted.SynProxy
	commands = setSynProxy(commands, old.Key, false, differs && !wanted.SynProxy) // before servers that it forbids
	commands = diffChecks(commands, old.Key, old.Checks, wanted.Checks)
	commands = diffServers(commands, old, wanted)
	return setSynProxy(commands, old.Key, true, differs && wanted.SynProxy)
}

// setSynProxy adds the command that switches a SYN proxy, if one is due.
func setSynProxy(commands []config.Command, k config.Key, on, due bool) []config.Command {
	if !due {
		return commands
	}
	c := command(config.OpSetSynProxy, config.Service{Key: k})
	c.SynProxy = on
	return append(commands, c)
}

// diffChecks adds the commands that change the checks of a service.
func diffChecks(commands []config.Command, k config.Key, old, wanted []config.Check) []config.Command {
	one := func(op config.Op, check config.Check) {
		c := command(op, config.Service{Key: k})
		c.Check = &check
		commands = append(commands, c)
	}
	for _, c := range old {
		if !slices.Contains(wanted, c) {
			one(config.OpDeleteCheck, c)
		}
	}
	for _, c := range wanted {
		if !slices.Contains(old, c) {
			one(config.OpAddCheck, c)
		}
	}
	return commands
}

func sameSettings(a, b config.Service) bool {
	return a.Scheduler == b.Scheduler && a.Flags == b.Flags && a.Persistent == b.Persistent &&
		a.Netmask == b.Netmask && a.PE == b.PE && a.OnePacket == b.OnePacket
}

func diffLocal(commands []config.Command, k config.Key, old, wanted []netip.Addr) []config.Command {
	one := func(op config.Op, a netip.Addr) {
		c := command(op, config.Service{Key: k})
		c.Local = a
		commands = append(commands, c)
	}
	for _, a := range old {
		if !slices.Contains(wanted, a) {
			one(config.OpDeleteLocal, a)
		}
	}
	for _, a := range wanted {
		if !slices.Contains(old, a) {
			one(config.OpAddLocal, a)
		}
	}
	return commands
}

func diffPolicy(commands []config.Command, k config.Key, old, wanted config.Policy) []config.Command {
	if old == wanted {
		return commands
	}
	c := command(config.OpSetPolicy, config.Service{Key: k})
	c.Policy = wanted
	return append(commands, c)
}

func diffVIPRole(commands []config.Command, k config.Key, old, wanted config.VIPRole) []config.Command {
	if old == wanted {
		return commands
	}
	c := command(config.OpSetVIPRole, config.Service{Key: k})
	c.VIPRole = wanted
	return append(commands, c)
}

func diffServers(commands []config.Command, old, wanted *Service) []config.Command {
	have := map[netip.AddrPort]config.Server{}
	for _, s := range old.Servers {
		have[s.AddrPort()] = s
	}
	want := map[netip.AddrPort]bool{}
	for _, s := range wanted.Servers {
		want[s.AddrPort()] = true
	}
	for _, s := range old.Servers {
		if !want[s.AddrPort()] {
			commands = append(commands, serverCommand(config.OpDeleteServer, old.Key, s))
		}
	}
	for _, s := range wanted.Servers {
		was, known := have[s.AddrPort()]
		switch {
		case !known:
			commands = append(commands, serverCommand(config.OpAddServer, old.Key, s))
		case was != s:
			commands = append(commands, serverCommand(config.OpEditServer, old.Key, s))
		}
	}
	return commands
}

// diffTimeouts returns the wanted timeouts that are not the current ones.
func diffTimeouts(current, wanted config.Timeouts) (d config.Timeouts) {
	if wanted.TCP != current.TCP {
		d.TCP = wanted.TCP
	}
	if wanted.TCPFin != current.TCPFin {
		d.TCPFin = wanted.TCPFin
	}
	if wanted.UDP != current.UDP {
		d.UDP = wanted.UDP
	}
	return d
}

func (p *Plan) diffDaemons(current, wanted []config.Daemon) {
	for _, d := range current {
		i := slices.IndexFunc(wanted, func(w config.Daemon) bool { return w.State == d.State })
		if i < 0 || !sameDaemon(d, wanted[i]) {
			p.Stop = append(p.Stop, d.State)
		}
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(current, func(d config.Daemon) bool { return sameDaemon(d, w) }) {
			p.Start = append(p.Start, w)
		}
	}
}

// sameDaemon reports whether a running daemon is the wanted one; fields that the wanted
// one leaves empty match any value.
func sameDaemon(running, wanted config.Daemon) bool {
	if wanted.MaxLen == 0 {
		wanted.MaxLen = running.MaxLen
	}
	if !wanted.Group.IsValid() {
		wanted.Group = running.Group
	}
	if wanted.Port == 0 {
		wanted.Port = running.Port
	}
	if wanted.TTL == 0 {
		wanted.TTL = running.TTL
	}
	return running == wanted
}
