package learn

import (
	"slices"
	"strings"

	"uvs/internal/lang"
)

// wordAfter returns the word after another one, or nothing.
func wordAfter(text, word string) string {
	f := strings.Fields(text)
	if i := slices.Index(f, word); i >= 0 && i+1 < len(f) {
		return f[i+1]
	}
	return ""
}

// says: what a command prints on a node has a word, and after it another one. An empty one
// means that the first is not to be there.
func says(what lang.Text, word, want string, node string, argv ...string) Check {
	return Check{
		What: what,
		Look: func(s *Scene) *Miss {
			out, err := s.output(node, argv...)
			if err != nil {
				return missed(err)
			}
			if wordAfter(out, word) == want {
				return nil
			}
			m := &Miss{
				Saw:  lang.Textf("on %s: %s", "%s 上：%s", node, strings.Join(strings.Fields(out), " ")),
				Want: lang.Textf("%s %s", "%s %s", word, want),
			}
			if want == "" {
				m.Want = lang.Textf("no %s", "没有 %s", word)
			}
			return m
		},
	}
}

// pathMTU: a node has learned this MTU of the way to an address, or none.
func pathMTU(node, to, want string) Check {
	what := lang.Textf("%s knows the path MTU %s to %s", "%s 已学到路径 MTU %s（目的 %s）", node, want, to)
	if want == "" {
		what = lang.Textf("%s had to learn no path MTU to %s", "%s 不需要学习到 %s 的路径 MTU", node, to)
	}
	return says(what, "mtu", want, node, "ip", "route", "get", to)
}

// announces: a node's default route has an advertised MSS.
func announces(node, mss string) Check {
	return says(lang.Textf("%s announces the MSS %s", "%s 宣告的 MSS 为 %s", node, mss), "advmss", mss, node, "ip", "route", "show", "default")
}

// linkMTU: an interface of a node has an MTU.
func linkMTU(node, link, want string) Check {
	return says(lang.Textf("the MTU of %s on %s is %s", "%[2]s 的 %[1]s 的 MTU 为 %[3]s", link, node, want), "mtu", want,
		node, "ip", "link", "show", link)
}

// linkUp: an interface of a node is up.
func linkUp(node, link string) Check {
	return says(lang.Textf("%s of %s is up", "%[2]s 的 %[1]s 已启用", link, node), "state", "UP", node, "ip", "link", "show", link)
}

// fileHas: a file of a node has a line.
func fileHas(node, path, line string) Check {
	return Check{
		What: lang.Textf("%s on %s has the line %q", "%[2]s 上的 %[1]s 含有一行 %[3]q", path, node, line),
		Look: func(s *Scene) *Miss {
			out, err := s.output(node, "cat", path)
			if err != nil {
				return missed(err)
			}
			if slices.Contains(strings.Split(out, "\n"), line) {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("%s has %d lines, and not this one", "%s 有 %d 行，但没有这一行", path, strings.Count(out, "\n")),
				Want: lang.Textf("%s", "%s", line),
			}
		},
	}
}

// macOf answers which MAC address a node has learned for an IPv6 address.
func macOf(node, address string) func(*Scene) (string, error) {
	return func(s *Scene) (string, error) {
		out, err := s.output(node, "ip", "-6", "neigh", "show", address)
		return wordAfter(out, "lladdr"), err
	}
}
