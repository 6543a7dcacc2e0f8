package graph

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
)

// imageOfNodes is what the containers of a containerlab file run: iproute2 and a shell.
const imageOfNodes = "nicolaka/netshoot"

// labFile is a topology of containerlab (containerlab.dev/manual/topo-def-file).
type labFile struct {
	Name     string `yaml:"name"`
	Topology struct {
		Nodes yaml.Node `yaml:"nodes"` // in order
		Links []labLink `yaml:"links"`
	} `yaml:"topology"`
}

type labNode struct {
	Kind    string   `yaml:"kind"`
	Image   string   `yaml:"image"`
	Network string   `yaml:"network-mode"`
	Command string   `yaml:"cmd"`
	Binds   []string `yaml:"binds"`
	Exec    []string `yaml:"exec"`
}

type labLink struct {
	Endpoints []string `yaml:"endpoints,flow"`
	MTU       int      `yaml:"mtu"`
}

// clab writes a file for containerlab. A network of more than two interfaces is a node with
// a bridge.
func clab(t *lab.Topology) (string, error) {
	var f labFile
	f.Name = t.Name
	f.Topology.Nodes.Kind = yaml.MappingNode
	for i := range t.Nodes {
		if err := f.add(t.Nodes[i].Name, execOf(t, i)); err != nil {
			return "", err
		}
	}
	for i := range t.Networks {
		if err := f.join(t, &t.Networks[i]); err != nil {
			return "", err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Lab %s: %s.\n# It needs uvs, a static binary, beside this file:\n#     sudo containerlab deploy -t FILE\n#     docker exec clab-%s-client uvs get %s\n",
		comment(t.Name), comment(t.Title), comment(t.Name), comment(t.URL("/")))
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(&f)
	return b.String(), err
}

// add adds a node that runs commands when its links are there.
func (f *labFile) add(name string, exec []string) error {
	var key, value yaml.Node
	key.SetString(name)
	err := value.Encode(labNode{
		Kind: "linux", Image: imageOfNodes, Network: "none", Command: "sleep infinity",
		Binds: []string{"uvs:/usr/local/bin/uvs:ro"}, Exec: exec,
	})
	f.Topology.Nodes.Content = append(f.Topology.Nodes.Content, &key, &value)
	return err
}

// join adds the links of a network.
func (f *labFile) join(t *lab.Topology, n *lab.Network) error {
	on, mtu := ends(t, n.Name), n.MTU
	if mtu == 0 {
		mtu = 1500
	}
	at := func(e end) string { return t.Nodes[e.node].Name + ":" + lab.InterfaceName(e.iface) }
	if len(on) == 2 {
		f.Topology.Links = append(f.Topology.Links, labLink{[]string{at(on[0]), at(on[1])}, mtu})
		return nil
	}
	bridge := free(t, n.Name)
	exec := []string{fmt.Sprintf("ip link add br0 mtu %d type bridge mcast_snooping 0", mtu), "ip link set br0 up"}
	for i, e := range on {
		port := lab.InterfaceName(i + 1)
		f.Topology.Links = append(f.Topology.Links, labLink{[]string{at(e), bridge + ":" + port}, mtu})
		exec = append(exec, fmt.Sprintf("ip link set %s master br0 up", port))
	}
	return f.add(bridge, exec)
}

// execOf returns the commands that make a container the node.
func execOf(t *lab.Topology, node int) (exec []string) {
	n := &t.Nodes[node]
	sh := func(text string) { exec = append(exec, "sh -c "+quote(text)) }
	of := []string{"all", "default"}
	for i := range n.Interfaces {
		of = append(of, lab.InterfaceName(i))
	}
	for _, optional := range []bool{false, true} {
		exec = append(exec, "uvs sysctl -qw "+strings.Join(parameters(n, optional, of...), " "))
	}
	for i, iface := range n.Interfaces {
		name := lab.InterfaceName(i)
		exec = append(exec, fmt.Sprintf("ip link set dev %s address %s up", name, t.MAC(node, i)))
		for _, a := range iface.Addresses {
			exec = append(exec, addressCommand(a, name))
		}
	}
	for _, r := range n.AllRoutes() {
		exec = append(exec, "ip "+quoteAll(routeWords(r)))
	}
	for _, f := range n.Files {
		sh(fmt.Sprintf("mkdir -p %s && printf %%s %s >%s", quote(n.Directory()), quote(f.Text), quote(n.Directory()+"/"+f.Name)))
	}
	for i := range n.Services {
		if v := &n.Services[i]; !v.Setup || !t.Bare {
			sh(quoteAll(tool(v.Command)) + " </dev/null >/dev/null 2>&1 &")
		}
	}
	if n.Role == lab.Director {
		sh("until uvs ipvsadm -Ln >/dev/null 2>&1; do sleep 0.1; done")
	}
	for _, c := range n.Setup {
		if !t.Bare {
			exec = append(exec, quoteAll(tool(c)))
		}
	}
	return exec
}
