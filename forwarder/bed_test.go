package forwarder

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
)

// The network of these tests: the director between a client side and a server
// side, as in
//
//	client 172.16.0.0/12 ── router 02:00:00:02:00:01 ── c (link 1) director
//	director s (link 2) ── real servers 10.1.0.n, 02:00:00:01:00:n
//
// with virtual addresses in 10.2.0.0/16 and the director's own 10.9.0.1 and
// 10.1.255.254.
var (
	clientLink = neigh.Link{Index: 1, Name: "c", MAC: [6]byte{2, 0, 0, 0xd0, 0, 1}, MTU: 1500, Up: true, Ethernet: true}
	serverLink = neigh.Link{Index: 2, Name: "s", MAC: [6]byte{2, 0, 0, 0xd0, 0, 2}, MTU: 1500, Up: true, Ethernet: true}
)

// staticNet is a Neighbours that knows the network above.
type staticNet struct {
	links   []neigh.Link
	changes chan struct{}
	owned   []netip.Addr
	probed  []string
	forward bool
	local   func(netip.Addr) bool // addresses of the host itself; nil: none
	mtu     map[string]int        // of c0 and r0, where it is not 1500

	generation   uint64
	sourceRouted bool
	admits       func(f *frame.Frame, link int) frame.Verdict // nil: everything
}

func (n *staticNet) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (n *staticNet) Generation() uint64            { return 1 + n.generation }
func (n *staticNet) Queue(*neigh.Hop, *frame.Frame) frame.Verdict {
	return frame.DropNeighbourQueue
}
func (n *staticNet) Probe(a netip.Addr)                { n.probed = append(n.probed, a.String()) }
func (n *staticNet) Answer(*frame.Frame) frame.Verdict { return frame.Pass }
func (n *staticNet) SetOwned(a []netip.Addr)           { n.owned = a }
func (n *staticNet) ChangeOwned(add, remove []netip.Addr) {
	n.owned = slices.DeleteFunc(n.owned, func(a netip.Addr) bool { return slices.Contains(remove, a) })
	n.owned = append(n.owned, add...)
	slices.SortFunc(n.owned, netip.Addr.Compare)
}
func (n *staticNet) LocalAddr(a netip.Addr) bool { return n.local != nil && n.local(a) }
func (n *staticNet) Forwarding(bool) bool        { return n.forward }
func (n *staticNet) SourceRouted(int) bool       { return n.sourceRouted }
func (n *staticNet) Admits(f *frame.Frame, link int) frame.Verdict {
	if n.admits == nil {
		return frame.Continue
	}
	return n.admits(f, link)
}
func (n *staticNet) Links() []neigh.Link          { return n.links }
func (n *staticNet) LinkChanges() <-chan struct{} { return n.changes }

func (n *staticNet) Lookup(dst netip.Addr) (*neigh.Hop, frame.Verdict) {
	b := dst.As16()
	server := dst.Is4() && b[12] == 10 && b[13] == 1 || dst.Is6() && b[0] == 0xfd && b[3] == 1
	client := dst.Is4() && b[12] == 172 || dst.Is6() && b[0] == 0xfd && b[3] == 0xc
	switch {
	case server:
		h := &neigh.Hop{Link: 2, MTU: cmp.Or(n.mtu["r0"], serverLink.MTU), SrcMAC: serverLink.MAC, DstMAC: [6]byte{2, 0, 0, 1, 0, b[15]}, Resolved: true, Ethernet: true}
		h.Source = netip.MustParseAddr("10.1.255.254")
		if dst.Is6() {
			h.Source = netip.MustParseAddr("fd00:1::fffe")
		}
		return h, frame.Continue
	case client:
		h := &neigh.Hop{Link: 1, MTU: cmp.Or(n.mtu["c0"], clientLink.MTU), SrcMAC: clientLink.MAC, DstMAC: [6]byte{2, 0, 0, 2, 0, 1}, Resolved: true, Ethernet: true}
		h.Source = netip.MustParseAddr("10.9.0.1")
		if dst.Is6() {
			h.Source = netip.MustParseAddr("fd00:9::1")
		}
		return h, frame.Continue
	}
	return nil, frame.DropNoRoute
}

// memory is a Driver whose interfaces are pipes.
type memory struct{ near, far map[int]*porttest.Port }

func newMemory() *memory {
	m := &memory{near: map[int]*porttest.Port{}, far: map[int]*porttest.Port{}}
	for _, i := range []int{1, 2} {
		m.near[i], m.far[i] = porttest.Pipe()
		m.near[i].Index = i
	}
	return m
}

func (m *memory) Alone(neigh.Link) bool { return true }

func (m *memory) Open(l neigh.Link, _ int, _ []bpf.RawInstruction) ([]port.Port, error) {
	return []port.Port{m.near[l.Index]}, nil
}

// Sender lends the interface's port, which its own worker closes.
func (m *memory) Sender(l neigh.Link) (port.Port, error) { return lent{m.near[l.Index]}, nil }

type lent struct{ *porttest.Port }

func (lent) Close() error { return nil }

// bed is a director in the network above, without its goroutines: frames go
// through a worker's batch directly.
type bed struct {
	t       testing.TB
	fw      *Forwarder
	net     *staticNet
	mem     *memory
	workers map[int]*worker
}

func newBed(t testing.TB, rules string) *bed {
	t.Helper()
	return newBedOf(t, rules, 1<<16)
}

// newBedOf is newBed for at most conns connections.
func newBedOf(t testing.TB, rules string, conns int) *bed {
	t.Helper()
	b := &bed{t: t, mem: newMemory(), workers: map[int]*worker{},
		net: &staticNet{links: []neigh.Link{clientLink, serverLink}, changes: make(chan struct{})}}
	fw, err := New(Config{Driver: b.mem, Neighbours: b.net, MaxConns: conns, TOA: 254})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fw.conns.Close() })
	b.fw = fw
	b.apply(rules)
	fw.links.Store(fw.linksOf(b.net.links))
	for _, l := range b.net.links {
		b.workers[l.Index] = fw.newWorker(l, b.mem.near[l.Index])
	}
	return b
}

// apply runs lines like "-A -t 10.2.0.1:80 -s rr" and "-a -t 10.2.0.1:80 -r
// 10.1.0.1:8080 -m -w 2 --laddr 10.1.200.1": just enough words for the tests.
func (b *bed) apply(rules string) {
	b.t.Helper()
	for line := range strings.Lines(rules) {
		if w := strings.Fields(line); len(w) > 0 {
			if err := b.run(w); err != nil {
				b.t.Fatalf("%s: %v", strings.TrimSpace(line), err)
			}
		}
	}
	if err := b.fw.RebuildPlan(); err != nil {
		b.t.Fatal(err)
	}
}

// send puts packets on the wire of a link, Ethernet header and all, and returns
// what came out of both links, each frame preceded by its link's letter.
func (b *bed) send(link int, packets ...[]byte) []sent {
	b.t.Helper()
	b.mem.far[link].Inject(packets...)
	w := b.workers[link]
	n, err := w.port.Recv(w.in[:])
	if err != nil {
		b.t.Fatal(err)
	}
	w.batch(w.in[:n])
	return b.collect()
}

type sent struct {
	link    int
	b       []byte
	offload frame.Offload
}

func (b *bed) collect() []sent {
	var all []sent
	for _, link := range []int{1, 2} {
		for _, f := range b.mem.far[link].Collect() {
			all = append(all, sent{link, f.Bytes, f.Offload})
		}
	}
	return all
}

func (b *bed) verdict(v frame.Verdict) uint64 { return b.fw.verdicts[v].Load() }

// packet builds an Ethernet frame for the director's MAC address on a link.
func packet(t testing.TB, link int, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	dst, src := clientLink.MAC, [6]byte{2, 0, 0, 2, 0, 1}
	if link == 2 {
		dst, src = serverLink.MAC, [6]byte{2, 0, 0, 1, 0, 1}
	}
	e := &layers.Ethernet{DstMAC: dst[:], SrcMAC: src[:], EthernetType: layers.EthernetTypeIPv4}
	if _, v6 := ls[0].(*layers.IPv6); v6 {
		e.EthernetType = layers.EthernetTypeIPv6
	}
	return frametest.Build(t, append([]gopacket.SerializableLayer{e}, ls...)...)
}

// seg is a TCP segment over IPv4.
func seg(t testing.TB, link int, src, dst string, flags uint8, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: 1000, Ack: 5001, Window: 4096,
		SYN: flags&frame.FlagSYN != 0, ACK: flags&frame.FlagACK != 0, FIN: flags&frame.FlagFIN != 0, RST: flags&frame.FlagRST != 0, PSH: flags&frame.FlagPSH != 0}
	return packet(t, link, ip, tcp, gopacket.Payload(data))
}

// dgram is a UDP datagram over IPv4.
func dgram(t testing.TB, link int, src, dst, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolUDP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(s.Port()), DstPort: layers.UDPPort(d.Port())}
	return packet(t, link, ip, udp, gopacket.Payload(data))
}

// judge describes a frame in words that gopacket reads from it, and fails if
// any checksum in it is wrong.
func judge(t testing.TB, b []byte) string {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var words []string
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			words = append(words, l.DstMAC.String())
		case *layers.IPv4:
			if frame.Checksum(l.Contents) != 0 {
				t.Errorf("IPv4 header checksum is wrong in %x", b)
			}
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.IPv6:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.TCP:
			words = append(words, fmt.Sprintf("tcp %d>%d", l.SrcPort, l.DstPort))
		case *layers.UDP:
			words = append(words, fmt.Sprintf("udp %d>%d", l.SrcPort, l.DstPort))
		case *layers.ICMPv4:
			words = append(words, l.TypeCode.String())
		case gopacket.ErrorLayer:
			if !strings.Contains(strings.Join(words, " "), "Unreachable") {
				t.Errorf("gopacket: %v", l.Error())
			}
		}
	}
	if err := transportSum(p); err != "" {
		t.Error(err)
	}
	return strings.Join(words, " ")
}

// transportSum recomputes the transport checksum of the outermost IP packet.
func transportSum(p gopacket.Packet) string {
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok || ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0 {
		return ""
	}
	if ip.Protocol != layers.IPProtocolTCP && ip.Protocol != layers.IPProtocolUDP {
		return ""
	}
	if ip.Protocol == layers.IPProtocolUDP && binary.BigEndian.Uint16(ip.Payload[6:]) == 0 {
		return ""
	}
	sum := frame.PseudoSum(ip.SrcIP, ip.DstIP, uint8(ip.Protocol), len(ip.Payload))
	if frame.Fold(frame.Sum(ip.Payload, sum)) != 0xffff {
		return "transport checksum is wrong"
	}
	return ""
}

func (b *bed) run(w []string) error {
	var key config.Key
	var svc config.Service
	var server config.Server
	var local netip.Addr
	var policy config.Policy
	server.Weight = 1
	server.Method = 3
	op := w[0]
	for i := 1; i < len(w); i++ {
		next := func() string { i++; return w[i] }
		switch w[i] {
		case "-t", "-u":
			key.Proto = config.TCP
			if w[i] == "-u" {
				key.Proto = config.UDP
			}
			ap := netip.MustParseAddrPort(next())
			key.Addr, key.Port = ap.Addr(), ap.Port()
		case "-s":
			svc.Scheduler = next()
		case "-r":
			ap := netip.MustParseAddrPort(next())
			server.Addr, server.Port = ap.Addr(), ap.Port()
		case "-m":
			server.Method = 0
		case "-i":
			server.Method = 2
		case "--fullnat":
			server.Method = 5
		case "--laddr":
			local = netip.MustParseAddr(next())
		case "--gone":
			policy.Gone.UnmarshalText([]byte(next()))
		case "--drain":
			policy.Drain, _ = config.ParseDrain(next())
		case "--udp-reschedule":
			policy.Reschedule = true
		case "-p":
			svc.Persistent = 300
		case "-w":
			server.Weight = int32(next()[0] - '0')
		}
	}
	svc.Key = key
	switch op {
	case "-A":
		return b.fw.AddService(svc)
	case "-a":
		return b.fw.AddServer(key, server)
	case "-e":
		return b.fw.EditServer(key, server)
	case "-d":
		return b.fw.DeleteServer(key, netip.AddrPortFrom(server.Addr, server.Port))
	case "-D":
		return b.fw.DeleteService(key)
	case "policy":
		return b.fw.SetPolicy(key, policy)
	}
	return b.fw.AddLocal(key, local)
}
