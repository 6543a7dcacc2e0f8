package lab

import (
	"slices"
	"strings"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

// commands compares the set-up commands of a node: those that are new are run, those that are
// gone are undone where there is a way back. In a bare lab the user types them.
func (p *planner) commands(was, n *Node) {
	for _, c := range slices.Backward(was.Setup) {
		if slices.ContainsFunc(n.Setup, c.equal) {
			continue
		}
		back, possible := c.undone(n.Setup)
		switch {
		case possible && back == nil: // another command changes or takes away the same
		case p.old.Bare:
			p.add(undo, stays, n.Name+"# "+c.String(), "it was left to the user to type", nil)
		case !possible:
			p.add(undo, stays, n.Name+"# "+c.String(), "what it did stays: there is no way back", nil)
		default:
			p.add(undo, becomes, n.Name+"# "+back.String(), "", func(s *supervisor) error {
				return s.on(n.Name, func(h *host) error { return s.takeBack(h, back) })
			})
		}
	}
	for _, c := range n.Setup {
		if !slices.ContainsFunc(was.Setup, c.equal) {
			p.run(n, c, c.instead(was.Setup), false)
		}
	}
}

func (c Command) equal(o Command) bool { return slices.Equal(c, o) }

// run is that a set-up command of a node is run, in the form as. Those of a node that comes are
// part of that.
func (p *planner) run(n *Node, c, as Command, part bool) {
	name := n.Name
	what := name + "# " + as.String()
	if p.next.Bare {
		if !part {
			p.add(setUp, comes, what, "left for you to type", nil)
		}
		return
	}
	sign := comes
	if !as.equal(c) {
		sign = becomes
	}
	st := p.add(setUp, sign, what, "", func(s *supervisor) error {
		return s.on(name, func(h *host) error { return s.setup(h, as) })
	})
	st.forget = func(t *Topology) {
		if n := t.Node(name); n != nil {
			if at := slices.IndexFunc(n.Setup, c.equal); at >= 0 {
				n.Setup = slices.Delete(slices.Clone(n.Setup), at, at+1)
			}
		}
	}
}

// undone returns the command that undoes one, given those that are to be in force. There may be no
// way back; and there may be nothing to do, because another command sees to it.
func (c Command) undone(next []Command) (back Command, possible bool) {
	rule := IPVSCommand(c)
	if rule == nil {
		return c.reversed()
	}
	opposite := map[config.Op]config.Op{config.OpAddService: config.OpDeleteService, config.OpAddServer: config.OpDeleteServer,
		config.OpAddLocal: config.OpDeleteLocal}[rule.Op]
	switch {
	case opposite == "":
		return nil, false
	case rule.Op != config.OpAddLocal && adds(next, rule.Op, rule), rule.Op != config.OpAddService && !adds(next, config.OpAddService, rule):
		return nil, true
	}
	rule.Op = opposite
	return ipvsCommand(rule), true
}

func ipvsCommand(rule *config.Command) Command {
	return append(Command{"ipvsadm"}, strings.Fields(ipvsadm.FormatCommand(*rule))...)
}

// reversed returns a command of ip(8) or uvs mark that takes back what another one adds.
func (c Command) reversed() (back Command, possible bool) {
	back = slices.Clone(c)
	for i, w := range c {
		switch {
		case c[0] == "ip" && w == "add" && i > 0:
			back[i] = "del"
			return back, true
		case len(c) > 2 && c[0] == "uvs" && c[1] == "mark" && w == "-A":
			back[i] = "-D"
			return back, true
		}
	}
	return nil, false
}

// instead returns the form in which a new command is run: one that adds what an old one has added
// otherwise changes it.
func (c Command) instead(old []Command) Command {
	rule := IPVSCommand(c)
	if rule == nil || !adds(old, rule.Op, rule) {
		return c
	}
	edit := map[config.Op]config.Op{config.OpAddService: config.OpEditService, config.OpAddServer: config.OpEditServer}[rule.Op]
	if edit == "" {
		return c
	}
	rule.Op = edit
	return ipvsCommand(rule)
}

// adds reports whether some commands do the same to the same service, and server if it is about
// one.
func adds(commands []Command, op config.Op, rule *config.Command) bool {
	return slices.ContainsFunc(commands, func(c Command) bool {
		o := IPVSCommand(c)
		return o != nil && o.Op == op && o.Service != nil && o.Service.Key.Normal() == rule.Service.Key.Normal() &&
			(op != config.OpAddServer || o.Server.AddrPort() == rule.Server.AddrPort())
	})
}
