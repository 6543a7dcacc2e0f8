package graph

import (
	"fmt"
	"strings"

	"uvs/lab"
	"uvs/lab/wire"
)

// script is a shell script that is being written.
type script struct {
	strings.Builder
	t      *lab.Topology
	bridge string // namespace of the bridges, "" if there are none
}

// shell writes the commands that the lab is made of, as a script for a POSIX shell.
func shell(t *lab.Topology) (string, error) {
	s := &script{t: t}
	if len(t.Networks) > 0 {
		s.bridge = free(t, "bridges")
	}
	s.head()
	s.down()
	s.parameters()
	s.start()
	for i := range t.Nodes {
		s.namespace(&t.Nodes[i])
	}
	if s.bridge != "" {
		s.part("bridges, which are no hosts")
		s.line("ip netns add %s", quote(s.bridge))
		s.line("ip netns exec %s uvs sysctl -qw net.ipv6.conf.default.disable_ipv6=1 || true", quote(s.bridge))
	}
	for i := range t.Networks {
		s.network(&t.Networks[i])
	}
	for i := range t.Nodes {
		s.addresses(&t.Nodes[i])
	}
	s.carriers()
	s.files()
	s.services(false)
	s.services(true)
	s.setUp()
	s.line("trap - EXIT")
	s.line("echo %s", quote("up. Try: ip netns exec client uvs get "+t.URL("/")+"     End: sh SCRIPT down"))
	return s.String(), nil
}

// free returns a name that no node has.
func free(t *lab.Topology, name string) string {
	for t.Node(name) != nil {
		name += "-"
	}
	return name
}

func (s *script) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// part begins a part of the script.
func (s *script) part(title string) { s.line("\n# %s", comment(title)) }

// comment keeps a text in its comment.
func comment(s string) string { return strings.Join(strings.Fields(s), " ") }

// in writes a command that runs in a node.
func (s *script) in(node string, words ...string) {
	s.line("ip netns exec %s %s", quote(node), quoteAll(words))
}

func (s *script) head() {
	s.line("#!/bin/sh")
	s.line("# Lab %s: %s.", comment(s.t.Name), comment(s.t.Title))
	s.line("#")
	s.line("# The commands that the lab is made of. They need root, iproute2 and uvs in PATH:")
	s.line("#     sudo sh SCRIPT; sudo ip netns exec client uvs get %s; sudo sh SCRIPT down", comment(s.t.URL("/")))
	s.line("# or namespaces of one's own, with a /run that can be written:")
	s.line("#     unshare --map-root-user --net --mount --pid --fork --mount-proc sh")
	s.line("#     mount -t tmpfs tmpfs /run; sh SCRIPT")
	s.line("set -eu")
	s.line("PATH=$PATH:/usr/sbin:/sbin")
	s.line("nodes=%s", quote(strings.Join(s.all(), " ")))
}

// all returns the names of all namespaces.
func (s *script) all() (names []string) {
	for i := range s.t.Nodes {
		names = append(names, s.t.Nodes[i].Name)
	}
	if s.bridge != "" {
		names = append(names, s.bridge)
	}
	return names
}

// down writes what ends the lab: what runs in the namespaces, the namespaces with all that
// is in them, and the files of the nodes.
func (s *script) down() {
	s.part("What ends the lab.")
	s.line(`down() {
	for node in $nodes; do
		[ -e "/run/netns/$node" ] || continue
		ip netns pids "$node" | xargs -r kill 2>/dev/null || true
	done
	for node in $nodes; do
		[ -e "/run/netns/$node" ] || continue
		for i in $(seq 100); do
			[ -n "$(ip netns pids "$node")" ] || break
			sleep 0.05
		done
		ip netns pids "$node" | xargs -r kill -9 2>/dev/null || true`)
	for i := range s.t.Nodes {
		if n := &s.t.Nodes[i]; n.Role == lab.Director {
			s.line("\t\t[ \"$node\" != %s ] || ip netns exec \"$node\" uvs director --clean >/dev/null 2>&1 || true", quote(n.Name))
		}
	}
	s.line("\t\tip netns del \"$node\"\n\tdone")
	for i := range s.t.Nodes {
		if n := &s.t.Nodes[i]; len(n.Files) > 0 {
			s.line("\trm -rf %s", quote(n.Directory()))
		}
	}
	s.line("}")
}

// start writes what the script does first.
func (s *script) start() {
	s.line(`
# ready COMMAND…: waits until the command succeeds, for at most 10 seconds.
ready() {
	for i in $(seq 200); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.05
	done
	echo "waited in vain for: $*" >&2
	return 1
}

case ${1:-up} in
up) ;;
down) down; exit ;;
*) echo "usage: $0 [up|down]" >&2; exit 2 ;;
esac
for node in $nodes; do
	[ ! -e "/run/netns/$node" ] || { echo "there is a namespace $node already; end it with: $0 down" >&2; exit 1; }
done
trap 'down' EXIT # unless all of it succeeds
trap 'exit 130' INT TERM`)
}

// parameters writes a function that sets a node's parameters, which interfaces take over when
// they are made. What depends on whether the node forwards is its second argument.
func (s *script) parameters() {
	s.line("\n# parameters NODE FORWARDING: sets what new namespaces may have from the machine.\nparameters() {")
	still, forwards := (&lab.Node{}).Parameters(), (&lab.Node{Forward: true}).Parameters()
	for _, optional := range []bool{false, true} {
		var words []string
		for i, p := range still {
			if p.Optional != optional {
				continue
			}
			if p.Value != forwards[i].Value {
				p.Value = "$2"
			}
			for _, w := range p.Words("$i") {
				words = append(words, `"`+w+`"`)
			}
		}
		otherwise := ""
		if optional {
			otherwise = " || true # a kernel without IPv6"
		}
		s.line("\tfor i in all default lo; do\n\t\tip netns exec \"$1\" uvs sysctl -qw %s%s\n\tdone", strings.Join(wrapWords(words, 90), " \\\n\t\t\t"), otherwise)
	}
	s.line("}")
}

// namespace makes a node.
func (s *script) namespace(n *lab.Node) {
	s.part(fmt.Sprintf("%s, %s", n.Name, n.Role))
	forward := 0
	if n.Forward {
		forward = 1
	}
	s.line("ip netns add %s", quote(n.Name))
	s.line("parameters %s %d", quote(n.Name), forward)
	s.line("ip -n %s link set lo up", quote(n.Name))
}

// parameters returns a node's parameters, those that a kernel may be without or the others, as
// words of a shell.
func parameters(n *lab.Node, optional bool, interfaces ...string) (words []string) {
	for _, p := range n.Parameters() {
		if p.Optional == optional {
			for _, w := range p.Words(interfaces...) {
				words = append(words, quote(w))
			}
		}
	}
	return words
}

// wrapWords joins words into lines.
func wrapWords(words []string, width int) (lines []string) {
	for _, w := range words {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+len(w) < width {
			lines[last] += " " + w
		} else {
			lines = append(lines, w)
		}
	}
	return lines
}

// network joins interfaces by a bridge in a namespace of its own.
func (s *script) network(n *lab.Network) {
	s.part("network " + n.Name)
	on, mtu := ends(s.t, n.Name), n.MTU
	if mtu == 0 {
		mtu = 1500
	}
	s.bridgeOf(n, mtu, on)
	for _, e := range on {
		s.link(n, e)
	}
}

func (s *script) bridgeOf(n *lab.Network, mtu int, on []end) {
	ns, name := quote(s.bridge), quote(n.Name)
	s.line("ip -n %s link add %s mtu %d type bridge mcast_snooping 0", ns, name, mtu)
	s.line("ip -n %s link set %s up", ns, name)
	for _, e := range on {
		port := s.t.PortName(e.node, e.iface)
		s.line("ip link add %s netns %s mtu %d type veth peer name %s netns %s mtu %d address %s",
			port, ns, mtu, lab.InterfaceName(e.iface), quote(s.t.Nodes[e.node].Name), mtu, s.t.MAC(e.node, e.iface))
		s.line("ip -n %s link set %s master %s up", ns, port, name)
		if n.NoOffload {
			s.line("ip netns exec %s ethtool -K %s %s", ns, port, offloads)
		}
	}
}

// offloads are the arguments of ethtool -K that leave every frame complete.
const offloads = "tx off sg off tso off gso off gro off"

// link sets an interface up.
func (s *script) link(n *lab.Network, e end) {
	node, name := s.t.Nodes[e.node].Name, lab.InterfaceName(e.iface)
	if n.NoOffload {
		s.in(node, append([]string{"ethtool", "-K", name}, strings.Fields(offloads)...)...)
	}
	s.line("ip -n %s link set %s up", quote(node), name)
	if i := s.t.Nodes[e.node].Interfaces[e.iface].Impair; i != (wire.Impairment{}) {
		s.impair(e, i)
	}
}

// impair impairs a link as the lab's wire does, both ways, where the kernel has netem.
func (s *script) impair(e end, i wire.Impairment) {
	if i.Down {
		s.line("ip -n %s link set %s down", quote(s.bridge), s.t.PortName(e.node, e.iface))
	}
	var words []string
	add := func(is bool, format string, args ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	delay := i.Delay.Microseconds()
	if i.Reorder > 0 {
		delay = max(delay, 1) // without a delay there is no other order: tc refuses it
	}
	add(i.Delay > 0 || i.Jitter > 0 || i.Reorder > 0, "delay %dus", delay)
	add(i.Jitter > 0, "%dus", i.Jitter.Microseconds())
	add(i.Loss > 0, "loss %g%%", 100*i.Loss)
	add(i.Duplicate > 0, "duplicate %g%%", 100*i.Duplicate)
	add(i.Corrupt > 0, "corrupt %g%%", 100*i.Corrupt)
	add(i.Reorder > 0, "reorder %g%%", 100*i.Reorder)
	add(i.Rate > 0, "rate %dbit", i.Rate)
	if len(words) == 0 {
		return
	}
	for _, at := range [][2]string{{s.t.Nodes[e.node].Name, lab.InterfaceName(e.iface)}, {s.bridge, s.t.PortName(e.node, e.iface)}} {
		s.line("tc -n %s qdisc add dev %s root netem %s || echo %s >&2", quote(at[0]), at[1], strings.Join(words, " "),
			quote("tc failed: "+s.t.Nodes[e.node].Name+"'s link stays perfect"))
	}
}

// addresses gives a node its addresses and its gateway.
func (s *script) addresses(n *lab.Node) {
	s.part("addresses of " + n.Name)
	for i, iface := range n.Interfaces {
		for _, a := range iface.Addresses {
			s.line("ip -n %s %s", quote(n.Name), strings.TrimPrefix(addressCommand(a, lab.InterfaceName(i)), "ip "))
		}
	}
	for _, r := range n.AllRoutes() {
		s.line("ip -n %s %s", quote(n.Name), quoteAll(routeWords(r)))
	}
}

// addressCommand returns the command that gives an interface an address.
func addressCommand(a lab.Address, iface string) string {
	more := ""
	switch {
	case a.Prefix.Addr().Is6():
		more = " nodad"
	case a.Prefix.Bits() < 31:
		more = " brd +"
	}
	if a.Label != "" {
		more += " label " + quote(a.Label)
	}
	return fmt.Sprintf("ip addr add %s%s dev %s", a.Prefix, more, iface)
}

// routeWords returns the arguments of ip that add a route.
func routeWords(r lab.Route) []string {
	var words []string
	if r.To.Addr().Is6() {
		words = append(words, "-6")
	}
	words = append(words, "route", "add", r.To.String())
	if r.To.Bits() == 0 {
		words[len(words)-1] = "default"
	}
	if r.Via.IsValid() {
		words = append(words, "via", r.Via.String())
	}
	if r.Link != "" {
		words = append(words, "dev", r.Link)
	}
	return words
}

// carriers waits until all interfaces carry frames, but for those whose cable is pulled.
func (s *script) carriers() {
	s.part("Interfaces carry frames a moment after they are up.")
	for i := range s.t.Nodes {
		for k := range s.t.Nodes[i].Interfaces {
			if s.t.Nodes[i].Interfaces[k].Impair.Down {
				continue
			}
			s.line("ready sh -c %s", quote(fmt.Sprintf("ip -n %s link show %s | grep -q 'state UP'", s.t.Nodes[i].Name, lab.InterfaceName(k))))
		}
	}
}

// files writes the files of the nodes.
func (s *script) files() {
	for i := range s.t.Nodes {
		n := &s.t.Nodes[i]
		if len(n.Files) == 0 {
			continue
		}
		s.part("files of " + n.Name)
		s.line("mkdir -p %s", quote(n.Directory()))
		for _, f := range n.Files {
			s.line("printf %%s %s >%s", quote(f.Text), quote(n.Directory()+"/"+f.Name))
		}
	}
}

// quoteAll writes words so that a shell reads the same.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// safe are the characters that mean themselves in a shell.
const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@%+="

// quote writes a word so that a shell reads the same.
func quote(w string) string {
	if w != "" && strings.Trim(w, safe) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
