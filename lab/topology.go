package lab

import (
	"net/netip"

	"uvs/lab/wire"
)

// Topology describes a lab as plain data: networks, and nodes with their addresses,
// routes and services. [Build] returns the built-in ones; every field may be changed
// before [Start]. Nothing else determines a lab.
type Topology struct {
	Name  string `json:"name"` // one of Names, or the author's own
	Title string `json:"title"`
	// VIP is the virtual address that clients ask; of several, the first. The others are
	// MoreVIPs. It is not valid where there is none.
	VIP      netip.Addr   `json:"vip"`
	MoreVIPs []netip.Addr `json:"more_vips,omitempty"`
	Networks []Network    `json:"networks"`
	Nodes    []Node       `json:"nodes"`
	// Checks are what the lab promises, in the order in which they are tried. If they are nil
	// its nodes and their commands say it: see Promises. An empty list promises nothing.
	Checks []Check `json:"checks,omitzero"`
	// Bare leaves everything marked as set-up to the user: the nodes have addresses
	// and web servers, and the director runs without services.
	Bare bool `json:"bare,omitempty"`
	// ByName hides this lab from commands that do not name it: it belongs to a
	// program, such as a benchmark. Its links cannot be impaired, unless Wires is set.
	ByName bool `json:"by_name,omitempty"`
	// Wires lets the links of a lab with ByName be impaired.
	Wires bool `json:"wires,omitempty"`
	// Seed is where chance begins on links that are impaired, DefaultSeed if it is 0.
	Seed uint64 `json:"seed,omitempty"`
}

// Network is one Ethernet segment: a bridge in the supervisor's network namespace, with a
// port for each interface. Two interfaces are joined directly where links cannot be impaired.
type Network struct {
	Name string `json:"name"`
	MTU  int    `json:"mtu"` // bytes of an IP packet, 1500 if 0
	// NoOffload switches checksum and segmentation offload and GRO off on every
	// interface, so that all frames are complete and have at most MTU bytes.
	NoOffload bool `json:"no_offload,omitempty"`
}

// Role is what a node is for.
type Role string

// Roles of nodes.
const (
	Client   Role = "client"
	Director Role = "director"
	Real     Role = "real server"
	Router   Role = "router"
	Host     Role = "host" // none of the others: a name server, a web site elsewhere
)

// Node is a host of the lab: a network namespace with its own /sys and host
// name.
type Node struct {
	Name string `json:"name"`
	// Number is the node's in MAC addresses and in names of ports; 0 is its place among the
	// nodes, from 1. In a lab that was changed the nodes keep theirs.
	Number     int         `json:"number,omitempty"`
	Role       Role        `json:"role"`
	Interfaces []Interface `json:"interfaces"` // eth0, eth1, … in this order
	Gateway    netip.Addr  `json:"gateway,omitzero"`
	Routes     []Route     `json:"routes,omitempty"`  // beside those of the addresses and the gateway
	Forward    bool        `json:"forward,omitempty"` // net.ipv4.ip_forward, and IPv6 forwarding
	// Files are in the node's directory, /run/NAME, before anything is started.
	Files []File `json:"files,omitempty"`
	// Services are started in order when every node's network is ready.
	Services []Service `json:"services,omitempty"`
	// Setup makes the node part of the virtual server: the commands that an
	// administrator would type, run in order once all services are ready, unless the
	// topology is Bare.
	Setup []Command `json:"setup,omitempty"`
}

// File is a file of a node.
type File struct {
	Name string `json:"name"` // without a directory
	Text string `json:"text"`
}

// Interface is an Ethernet interface of a node on a network.
type Interface struct {
	Network   string    `json:"network"`
	Addresses []Address `json:"addresses"`
	// Impair is what the link to the network does to frames, in each direction, from the
	// start of the lab on.
	Impair wire.Impairment `json:"impair,omitzero"`
}

// Address is an address of an interface, with the label that makes it the
// alias interface of older tools ("eth0:1") or an empty one.
type Address struct {
	Prefix netip.Prefix `json:"prefix"`
	Label  string       `json:"label,omitempty"`
}

// Route is a route of a node: to a network, by a next hop, or straight on a link where
// there is none. Link may be empty if there is a next hop.
type Route struct {
	To   netip.Prefix `json:"to"`
	Via  netip.Addr   `json:"via,omitzero"`
	Link string       `json:"link,omitempty"` // eth0, …
}

// Service is a process of a node that runs as long as the lab, or until it is killed: a
// web server, the director, a decapsulator.
type Service struct {
	Name    string  `json:"name"`
	Command Command `json:"command"`
	Ready   string  `json:"ready,omitempty"` // "tcp:80", "tcp:10.0.0.1:80", "unix:@uvs": it is ready when this can be connected to
	Setup   bool    `json:"setup,omitempty"` // part of the virtual server, like Node.Setup
	Late    bool    `json:"late,omitempty"`  // it is started when the others are ready
}

// Command is a program and its arguments, used literally, without a shell.
type Command []string

// Node returns the node called name, or nil.
func (t *Topology) Node(name string) *Node {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			return &t.Nodes[i]
		}
	}
	return nil
}

// Network returns the network called name, or nil.
func (t *Topology) Network(name string) *Network {
	for i := range t.Networks {
		if t.Networks[i].Name == name {
			return &t.Networks[i]
		}
	}
	return nil
}

// RealServers returns the real servers in order.
func (t *Topology) RealServers() []*Node {
	var servers []*Node
	for i := range t.Nodes {
		if t.Nodes[i].Role == Real {
			servers = append(servers, &t.Nodes[i])
		}
	}
	return servers
}

// Address returns the first address of the node's first interface, by which other nodes
// know it.
func (n *Node) Address() netip.Addr {
	for _, i := range n.Interfaces {
		for _, a := range i.Addresses {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}
