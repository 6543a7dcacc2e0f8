package bench

import (
	"fmt"
	"net/netip"

	"uvs/bench/load"

	"uvs/lab"
)

// Addresses come from the block for benchmarks (RFC 2544 appendix C.2.2). Lane
// i has 198.18.i.0/24 outside and 198.19.i.0/24 inside; clients of generated
// flows are in 198.18.128.0/17, behind the client.
const (
	clientHost = 2  // the client's own address outside
	middleHost = 1  // the target, on both sides
	vipHost    = 10 // the virtual address
	localHost  = 20 // FULLNAT's local addresses begin here, inside
	serverHost = 100
)

func outside(lane int, host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(lane), host})
}

func inside(lane int, host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 19, byte(lane), host})
}

// lane is the way through one node in the middle.
type lane struct {
	number  int
	node    string
	servers int  // real servers, all of them addresses of the server
	locals  int  // local addresses of FULLNAT services
	forward bool // the host's stack forwards
	plain   bool // no offloads
	direct  bool // servers may answer the client themselves, over a link of their own
}

func (l lane) vip() netip.Addr             { return outside(l.number, vipHost) }
func (l lane) clientLink() string          { return fmt.Sprintf("eth%d", l.number) }
func (l lane) serverLink() string          { return fmt.Sprintf("eth%d", l.number) }
func (l lane) local(i int) netip.Addr      { return inside(l.number, byte(localHost+i)) }
func (l lane) middleInside() netip.Addr    { return inside(l.number, middleHost) }
func (l lane) clientAddr() netip.Addr      { return outside(l.number, clientHost) }
func (l lane) outsidePrefix() netip.Prefix { return netip.PrefixFrom(outside(l.number, 0), 24) }

// MaxServers is how many servers a lane has addresses for beside those of the
// target, MaxFarServers how many in a network of their own.
const (
	MaxServers    = 150
	MaxFarServers = 20_000
)

// MaxLocals is how many local addresses a FULLNAT service may have.
const MaxLocals = serverHost - localHost

// server is the address of the ith real server.
func (l lane) server(i int) netip.Addr {
	if l.wide() {
		return load.AddrAfter(l.farServers().Addr(), uint32(i+1))
	}
	return inside(l.number, byte(serverHost+i))
}

// wide reports whether there are so many servers that they need a network of
// their own, on the same link.
func (l lane) wide() bool { return l.servers > MaxServers }

// farServers are the addresses of many servers, all of them the server's own; the
// target has one in the other half of 10.lane.0.0/16.
func (l lane) farServers() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(l.number)}), 17)
}

// back is an address on the link that answers take which do not pass the target:
// 198.19.128.0/24 and up.
func (l lane) back(host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 19, 128 + byte(l.number), host})
}

// insideMTU leaves room for a tunnel's outer header, so that all methods carry
// the same frames.
const insideMTU = 1600

// topology returns the lab for some lanes.
func topology(lanes []lane) lab.Topology {
	t := lab.Topology{Name: "bench", ByName: true, Title: "client and server with one lane for each target"}
	client := lab.Node{Name: load.ClientNode, Role: lab.Client}
	server := lab.Node{Name: load.ServerNode, Role: lab.Router}
	var middles []lab.Node
	var backs []lane
	for _, l := range lanes {
		out, in := fmt.Sprintf("out%d", l.number), fmt.Sprintf("in%d", l.number)
		t.Networks = append(t.Networks,
			lab.Network{Name: out, NoOffload: l.plain},
			lab.Network{Name: in, MTU: insideMTU, NoOffload: l.plain})
		client.Interfaces = append(client.Interfaces, on(out, l.clientAddr()))
		if l.direct {
			backs = append(backs, l)
		}
		server.Interfaces = append(server.Interfaces, l.serverSide(in))
		middles = append(middles, lab.Node{
			Name: l.node, Role: lab.Director, Gateway: l.clientAddr(), Forward: l.forward,
			Interfaces: []lab.Interface{on(out, outside(l.number, middleHost)), l.middleSide(in)},
		})
	}
	for _, l := range backs {
		back := fmt.Sprintf("back%d", l.number)
		t.Networks = append(t.Networks, lab.Network{Name: back, NoOffload: l.plain})
		client.Interfaces = append(client.Interfaces, on(back, l.back(clientHost)))
		server.Interfaces = append(server.Interfaces, on(back, l.back(serverHost)))
	}
	t.Nodes = append([]lab.Node{client, server}, middles...)
	return t
}

// serverSide is the server's interface on a lane, with the addresses of all real
// servers that are not in a network of their own.
func (l lane) serverSide(network string) lab.Interface {
	if l.wide() {
		return on(network, inside(l.number, serverHost))
	}
	var addrs []netip.Addr
	for i := range l.servers {
		addrs = append(addrs, l.server(i))
	}
	return on(network, addrs...)
}

// middleSide is the target's interface towards the servers.
func (l lane) middleSide(network string) lab.Interface {
	i := on(network, l.middleInside())
	if l.wide() {
		own := load.AddrAfter(l.farServers().Addr(), 0xfffe)
		i.Addresses = append(i.Addresses, lab.Address{Prefix: netip.PrefixFrom(own, 16)})
	}
	return i
}

func on(network string, addrs ...netip.Addr) lab.Interface {
	i := lab.Interface{Network: network}
	for _, a := range addrs {
		i.Addresses = append(i.Addresses, lab.Address{Prefix: netip.PrefixFrom(a, 24)})
	}
	return i
}
