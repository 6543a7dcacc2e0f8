package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/internal/lang"
)

// findings are what was seen on several nodes that is not as expected.
type findings struct{ en, zh []string }

func (f *findings) add(t lang.Text) { f.en, f.zh = append(f.en, t.EN), append(f.zh, t.ZH) }

// verdict returns that all is as expected, or what is not.
func (f *findings) verdict(expected lang.Text) (bool, lang.Text, lang.Text) {
	if len(f.en) == 0 {
		return true, expected, expected
	}
	return false, lang.Text{EN: strings.Join(f.en, "; "), ZH: strings.Join(f.zh, "；")}, expected
}

// ipvsadm compares a director's rules with those expected, in ipvsadm's words. What is missing
// or other is told as the command that would mend it; with Only so is what is there besides.
func (r *checkRun) ipvsadm() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("on %[2]s: %[1]s", "%[2]s 上：%[1]s", firstOf(r.Expect, 3), strings.Join(r.On, ", "))
	var f findings
	for _, node := range r.On {
		c := r.lab.Command(node, "uvs", "apply", "--dry-run", "-")
		c.Stdin = strings.NewReader(strings.Join(r.Expect, "\n") + "\n")
		out, err := c.Output()
		if err != nil {
			f.add(plain(err.Error()))
			continue
		}
		var lines []string
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			if r.Only || !strings.HasPrefix(line, "-D ") && !strings.HasPrefix(line, "-d ") {
				lines = append(lines, line)
			}
		}
		if len(lines) > 0 {
			f.add(lang.Textf("on %s these commands would be needed: %s", "%s 上还需要执行：%s", node, strings.Join(lines, "; ")))
		}
	}
	return f.verdict(expected)
}

// firstOf writes the first lines, and how many more there are.
func firstOf(lines []string, n int) string {
	if len(lines) <= n {
		return strings.Join(lines, "; ")
	}
	return fmt.Sprintf("%s; … (%d)", strings.Join(lines[:n], "; "), len(lines))
}

// connections expects a connection in a director's list for each item: the line has all of its
// words.
func (r *checkRun) connections() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("connections with: %s", "连接表中有：%s", strings.Join(r.Expect, "; "))
	var f findings
	for _, node := range r.On {
		out, err := r.lab.Exec(node, "ipvsadm", "-Lcn")
		if err != nil {
			f.add(plain(err.Error()))
			continue
		}
		lines := strings.Split(out, "\n")
		for _, want := range r.Expect {
			words := strings.Fields(want)
			has := func(line string) bool {
				return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
			}
			if !slices.ContainsFunc(lines, has) {
				f.add(lang.Textf("%s has no connection with %s", "%s 没有含 %s 的连接", node, want))
			}
		}
	}
	return f.verdict(expected)
}

// resolve returns an address, or that of a node.
func (t *Topology) resolve(word string) (netip.Addr, error) {
	if n := t.Node(word); n != nil {
		return n.Address(), nil
	}
	a, err := netip.ParseAddr(word)
	if err != nil {
		return a, fmt.Errorf("%q is neither an address nor a node", word)
	}
	return a, nil
}

// pings is how often an echo request is repeated.
const pings = 2

// ping expects an echo reply, to a request of a size if one is given.
func (r *checkRun) ping() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("%s answers an echo request of %s", "%[1]s 应答来自 %[2]s 的回显请求", r.To, r.From)
	to, err := r.lab.Topology.resolve(r.To)
	if err != nil {
		return false, plain(err.Error()), expected
	}
	size := r.Size
	if size == 0 {
		size = 56
	}
	_, err = r.lab.Exec(r.From, "uvs", "ping", "-c", fmt.Sprint(pings), "-i", "0.2",
		"-W", fmt.Sprint(r.Within.Seconds()), "-s", fmt.Sprint(size), to.String())
	if err != nil {
		return false, lang.Textf("no answer from %s within %v", "%s 在 %v 内没有应答", r.To, r.Within), expected
	}
	return true, expected, expected
}

// sysctl expects parameters to have values: "NAME=VALUE".
func (r *checkRun) sysctl() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("%s on %s", "%[2]s 上 %[1]s", strings.Join(r.Expect, ", "), strings.Join(r.On, ", "))
	var f findings
	for _, node := range r.On {
		for _, want := range r.Expect {
			name, value, _ := strings.Cut(want, "=")
			name, value = strings.TrimSpace(name), strings.Join(strings.Fields(value), " ")
			out, err := r.lab.Exec(node, "uvs", "sysctl", "-n", name)
			if err != nil {
				f.add(plain(err.Error()))
			} else if got := strings.Join(strings.Fields(out), " "); got != value {
				f.add(plain(fmt.Sprintf("%s: %s=%s", node, name, got)))
			}
		}
	}
	return f.verdict(expected)
}

// address expects addresses on nodes: "PREFIX" or "PREFIX INTERFACE".
func (r *checkRun) address() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("%s on %s", "%[2]s 上有 %[1]s", strings.Join(r.Expect, ", "), strings.Join(r.On, ", "))
	return r.eachLook(expected, func(node string, look *Look, f *findings) {
		for _, want := range r.Expect {
			words := strings.Fields(want)
			here := func(l Link) bool {
				return (len(words) < 2 || words[1] == l.Name) &&
					slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.String() == words[0] })
			}
			if len(words) > 0 && !slices.ContainsFunc(look.Links, here) {
				f.add(lang.Textf("%s does not have %s", "%s 上没有 %s", node, want))
			}
		}
	})
}

// gateway expects the default route of nodes to lead to one of some addresses or nodes.
func (r *checkRun) gateway() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("%s is the gateway of %s", "%[2]s 的默认网关是 %[1]s", strings.Join(r.Expect, " / "), strings.Join(r.On, ", "))
	return r.eachLook(expected, func(node string, look *Look, f *findings) {
		var has []string
		for _, g := range look.Gateways {
			if slices.Contains(r.Expect, g.String()) {
				return
			}
			has = append(has, g.String())
		}
		if len(has) == 0 {
			f.add(lang.Textf("%s has no gateway", "%s 没有默认网关", node))
			return
		}
		f.add(lang.Textf("%s has the gateway %s", "%s 的默认网关是 %s", node, strings.Join(has, ", ")))
	})
}

// mtu expects the Ethernet interfaces of nodes to be up, with an MTU: that of their networks,
// unless the check has a size.
func (r *checkRun) mtu() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("all interfaces are up, with the MTU of their network", "所有接口都已启用，且 MTU 与所在网络一致")
	if r.Size > 0 {
		expected = lang.Textf("all interfaces are up, with the MTU %d", "所有接口都已启用，MTU 为 %d", r.Size)
	}
	return r.eachLook(expected, func(node string, look *Look, f *findings) {
		for i, iface := range r.lab.Topology.Node(node).Interfaces {
			want := r.Size
			if want == 0 {
				want = r.lab.Topology.Network(iface.Network).mtu()
			}
			at := slices.IndexFunc(look.Links, func(l Link) bool { return l.Name == ethName(i) })
			switch {
			case at < 0:
				f.add(lang.Textf("%s has no %s", "%s 没有接口 %s", node, ethName(i)))
			case !look.Links[at].Up:
				f.add(lang.Textf("%s of %s is down", "%[2]s 的 %[1]s 已停用", ethName(i), node))
			case look.Links[at].MTU != want:
				f.add(lang.Textf("%s of %s has the MTU %d, not %d", "%[2]s 的 %[1]s 的 MTU 是 %[3]d，而不是 %[4]d", ethName(i), node, look.Links[at].MTU, want))
			}
		}
	})
}

// eachLook judges what the kernels of the check's nodes have.
func (r *checkRun) eachLook(expected lang.Text, judge func(node string, look *Look, f *findings)) (bool, lang.Text, lang.Text) {
	var f findings
	for _, node := range r.On {
		look, err := r.lab.Look(node)
		if err != nil {
			f.add(plain(err.Error()))
			continue
		}
		judge(node, look, &f)
	}
	return f.verdict(expected)
}

// command expects a command to succeed on nodes, and to print what is expected.
func (r *checkRun) command() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("%s succeeds", "%s 执行成功", r.Command)
	if len(r.Expect) > 0 {
		expected = lang.Textf("%s prints %s", "%s 输出 %s", r.Command, strings.Join(r.Expect, ", "))
	}
	var f findings
	for _, node := range r.On {
		out, err := r.lab.Exec(node, r.Command...)
		if err != nil {
			f.add(plain(err.Error()))
			continue
		}
		for _, want := range r.Expect {
			if !strings.Contains(out, want) {
				f.add(lang.Textf("%s printed %q", "%s 的输出是 %q", node, shortened(out)))
				break
			}
		}
	}
	return f.verdict(expected)
}

// shortened is the beginning of an output, on one line.
func shortened(text string) string {
	const most = 120
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
