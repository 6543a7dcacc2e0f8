package graph_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
	"uvs/lab/graph"
	"uvs/lab/labtest"
	"uvs/lab/wire"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// all returns every built-in topology, one with impaired links, and one with names that mean
// something in every format.
func all(t *testing.T) map[string]lab.Topology {
	t.Helper()
	topologies := map[string]lab.Topology{}
	for _, name := range append(lab.Names(), lab.PairNames()...) {
		topologies[name] = labtest.Build(t, name, lab.Options{})
	}
	impaired := labtest.Build(t, "nat", lab.Options{RealServers: 3})
	impaired.Nodes[2].Interfaces[0].Impair = wire.Impairment{Delay: 20 * time.Millisecond, Loss: 0.01}
	topologies["impaired"] = impaired
	hostile := labtest.Build(t, "dr", lab.Options{})
	hostile.Name, hostile.Title = `a"b`, "<&>\"'`#\\\n$(exit 9) -->]]>"
	for i := range hostile.Nodes {
		hostile.Nodes[i].Interfaces[0].Network = `n"<&>#\'`
	}
	hostile.Networks[0].Name = `n"<&>#\'`
	topologies["hostile"] = hostile
	return topologies
}

func drawn(t *testing.T, topology lab.Topology, format string) string {
	t.Helper()
	var b bytes.Buffer
	if err := graph.Write(&b, &topology, format); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEveryTopologyIsDrawnInEveryFormat(t *testing.T) {
	judges := map[string]func(string) error{
		"ascii": func(string) error { return nil }, "sh": func(string) error { return nil },
		"svg": isXML, "mermaid": isMermaid, "dot": isDOT, "clab": isContainerlab,
	}
	for name, topology := range all(t) {
		for _, format := range graph.Formats() {
			text := drawn(t, topology, format)
			if err := judges[format](text); err != nil {
				t.Errorf("%s as %s: %v\n%s", name, format, err, text)
			}
			for i := range topology.Nodes {
				if n := topology.Nodes[i].Name; !strings.Contains(text, n) {
					t.Errorf("%s as %s lacks %s", name, format, n)
				}
			}
		}
	}
	if err := graph.Write(io.Discard, &lab.Topology{}, "png"); err == nil || !strings.Contains(err.Error(), "there are ascii, clab, dot, mermaid, sh, svg") {
		t.Error(err)
	}
}

func TestImpairedLinksCarryTheirValues(t *testing.T) {
	topology := all(t)["impaired"]
	for format, want := range map[string]string{
		"ascii":   "rs1       eth0  192.168.166.129/24  (delay=20ms loss=1%)\n",
		"mermaid": `-. "eth0 delay=20ms loss=1%" .-`,
		"dot":     `[label="eth0 delay=20ms loss=1%", style=dashed]`,
		"svg":     ">eth0 delay=20ms loss=1%<",
		"sh":      "tc -n rs1 qdisc add dev eth0 root netem delay 20000us loss 1% ||",
	} {
		if text := drawn(t, topology, format); strings.Count(text, want) != 1 {
			t.Errorf("%s lacks %q:\n%s", format, want, text)
		}
	}
}

// What tc refuses is not written, and nobody waits for a carrier where a cable is pulled.
func TestTheScriptImpairsALinkAsTcTakesIt(t *testing.T) {
	for _, c := range []struct {
		impair wire.Impairment
		netem  string // "": none
		waits  bool
	}{
		{wire.Impairment{Reorder: 0.02}, "netem delay 1us reorder 2% ||", true},
		{wire.Impairment{Reorder: 0.02, Delay: 5 * time.Millisecond}, "netem delay 5000us reorder 2% ||", true},
		{wire.Impairment{Down: true}, "", false},
	} {
		topology := labtest.Build(t, "nat", lab.Options{})
		topology.Node("rs1").Interfaces[0].Impair = c.impair
		text := drawn(t, topology, "sh")
		if c.netem == "" {
			c.netem = "link set " + topology.PortName(slices.IndexFunc(topology.Nodes, func(n lab.Node) bool { return n.Name == "rs1" }), 0) + " down"
		}
		if !strings.Contains(text, c.netem) {
			t.Errorf("%+v: the script lacks %q", c.impair, c.netem)
		}
		const up = "ip -n %s link show eth0 | grep -q"
		if waits := strings.Contains(text, fmt.Sprintf(up, "rs1")); waits != c.waits || !strings.Contains(text, fmt.Sprintf(up, "rs2")) {
			t.Errorf("%+v: the script waits for rs1: %t, want %t; and always for rs2", c.impair, waits, c.waits)
		}
	}
}

func isXML(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Lines of a flowchart in Mermaid, as uvs writes them. A quoted text has no quote, and no
// character that begins markup but in an entity code.
var mermaidLines = regexp.MustCompile(`^(flowchart LR` +
	`|  node\d+\["TEXT"\]` +
	`|  net\d+\(\("TEXT"\)\)` +
	`|  node\d+ (-- "TEXT" ---|-\. "TEXT" \.-) net\d+` +
	`|  node\d+ -\. "answer" \.-> node\d+)$`)

func isMermaid(text string) error {
	quoted := strings.ReplaceAll(mermaidLines.String(), "TEXT", "(?:[^\"#<>`]|<br/>|#\\d+;|#[a-z]+;)*")
	line := regexp.MustCompile(quoted)
	for l := range strings.Lines(text) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			return fmt.Errorf("not a line of a flowchart: %q", l)
		}
	}
	return nil
}

// isDOT reads a graph by the grammar of DOT, as far as it is used.
func isDOT(text string) error {
	token := regexp.MustCompile(`^(?:\s+|"(?:[^"\\]|\\.)*"|[a-zA-Z0-9_]+|--|[{}\[\];=,])`)
	var tokens []string
	for rest := text; rest != ""; {
		found := token.FindString(rest)
		if found == "" {
			return fmt.Errorf("no token of DOT at %.20q", rest)
		}
		if rest = rest[len(found):]; strings.TrimSpace(found) != "" {
			if found[0] == '"' {
				found = "ID"
			}
			tokens = append(tokens, found)
		}
	}
	const id = `[a-zA-Z0-9_]+`
	attrs := `\[ (?:` + id + ` = ` + id + ` (?:, )?)+\] `
	statement := `(?:` + id + ` (?:= ` + id + ` |-- ` + id + ` )?(?:` + attrs + `)?; )`
	if !regexp.MustCompile(`^graph ID \{ ` + statement + `*\} $`).MatchString(strings.Join(tokens, " ") + " ") {
		return fmt.Errorf("not a graph: %.200q", tokens)
	}
	return nil
}

// containerlab has the keys of a topology file of containerlab, as its schema names them
// (schemas/clab.schema.json), which allows no others in a node.
type containerlab struct {
	Name     string `yaml:"name"`
	Topology struct {
		Nodes map[string]struct {
			Kind        string   `yaml:"kind"`
			Image       string   `yaml:"image"`
			NetworkMode string   `yaml:"network-mode"`
			Cmd         string   `yaml:"cmd"`
			Binds       []string `yaml:"binds"`
			Exec        []string `yaml:"exec"`
		} `yaml:"nodes"`
		Links []struct {
			Endpoints []string `yaml:"endpoints"`
			MTU       int      `yaml:"mtu"`
		} `yaml:"links"`
	} `yaml:"topology"`
}

func isContainerlab(text string) error {
	var f containerlab
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		return err
	}
	for name, n := range f.Topology.Nodes {
		if n.Kind != "linux" || n.Image == "" || n.NetworkMode != "none" || len(n.Exec) == 0 {
			return fmt.Errorf("node %s: %+v", name, n)
		}
	}
	used := map[string]bool{}
	for _, l := range f.Topology.Links {
		if len(l.Endpoints) != 2 || l.MTU < 576 {
			return fmt.Errorf("link %v", l)
		}
		for _, e := range l.Endpoints {
			node, iface, ok := strings.Cut(e, ":")
			if _, is := f.Topology.Nodes[node]; !is || !ok || used[e] || !strings.HasPrefix(iface, "eth") || strings.ContainsAny(e, " \t") {
				return fmt.Errorf("endpoint %q", e)
			}
			used[e] = true
		}
	}
	return nil
}

// What the script builds is the lab: the same addresses, links, routes and parameters, the
// same answers. When it has undone it nothing is left.
func TestTheScriptBuildsTheSameLab(t *testing.T) {
	labtest.NeedIP(t)
	for _, name := range []string{"dr-gateway", "tun6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topology := labtest.Build(t, name, lab.Options{})
			own := labtest.Start(t, topology)
			machine := labtest.Start(t, lab.Topology{Name: "machine", Nodes: []lab.Node{{Name: "machine", Role: lab.Host}}})
			sh := func(script string) string { return labtest.Exec(t, machine, "machine", "sh", "-c", script) }
			before := sh(remains)
			script := machine.Command("machine", "sh", "-c", "cat >/run/lab.sh && sh /run/lab.sh")
			script.Stdin = strings.NewReader(drawn(t, topology, "sh"))
			if out, err := script.Output(); err != nil {
				t.Fatal(out, err)
			}
			for i := range topology.Nodes {
				n := topology.Nodes[i].Name
				for _, look := range looks {
					want := tidy(labtest.Exec(t, own, n, "sh", "-c", look))
					if got := tidy(sh("ip netns exec " + n + " sh -c " + fmt.Sprintf("%q", look))); got != want {
						t.Errorf("%s# %s\nthe script's\n%s\nthe lab's\n%s", n, look, got, want)
					}
				}
			}
			get := "uvs get -n 8 " + topology.URL("/")
			want := labtest.Exec(t, own, "client", "sh", "-c", get)
			if got := sh("ip netns exec client " + get); got != want {
				t.Errorf("the script's lab answers\n%s\nthe lab answers\n%s", got, want)
			}
			if out := sh("sh /run/lab.sh; true"); out != "" {
				t.Errorf("a second time: %s", out)
			}
			sh("sh /run/lab.sh down && rm /run/lab.sh")
			if after := sh(remains); after != before {
				t.Errorf("left behind: %s; before: %s", after, before)
			}
		})
	}
}

// looks are what is compared: of links name, state and address, of addresses all, of routes
// all, of parameters those that a lab sets, of the director its services.
var looks = []string{
	"ip -br addr show scope global; ip -o link | cut -d ' ' -f 2- | sed 's/@[^:]*//; s/link-netns.*//'",
	"ip route; ip -6 route show | grep -v ^fe80; ip route show table local type local",
	"cd /proc/sys/net && cat ipv4/ip_forward; grep . ipv4/conf/*/rp_filter ipv4/conf/*/arp_ignore ipv4/conf/*/arp_announce ipv4/conf/*/forwarding ipv4/conf/*/send_redirects ipv6/conf/*/accept_dad ipv6/conf/*/forwarding",
	"uvs ipvsadm -Ln 2>/dev/null | grep -v ActiveConn; ss -Hltn | tr -s ' ' | cut -d ' ' -f 4 | sort",
}

// remains says what processes and files there are. The listing is made before grep runs, which
// would be counted or not.
const remains = `all=$(ls /proc); echo "$all" | grep -c '^[0-9]'; ls /run; ls /run/netns`

// tidy leaves out what differs between two of the same: the devices of tunnels come later in
// one than in the other, numbers of interfaces differ, and a queue that is not used has a length.
func tidy(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(regexp.MustCompile(`@if\d+|qlen \d+|\\`).ReplaceAllString(lines[i], " ")), " ")
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}
