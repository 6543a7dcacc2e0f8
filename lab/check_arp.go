package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/internal/lang"
)

// arp asks, on the network of an address, who has it, by ARP or neighbour discovery: one of
// the expected nodes has to answer, and nobody else.
func (r *checkRun) arp() (bool, lang.Text, lang.Text) {
	expected := lang.Textf("%[2]s answers for %[1]s, and nobody else", "只有 %[2]s 应答 %[1]s", r.To, strings.Join(r.Expect, " / "))
	who, err := r.whoHas()
	if err != nil {
		return false, plain(err.Error()), expected
	}
	seen := lang.Textf("%s answers", "%s 应答", strings.Join(who, ", "))
	if len(who) == 0 {
		seen = lang.Textf("nobody answers", "没有主机应答")
	}
	return len(who) == 1 && slices.Contains(r.Expect, who[0]), seen, expected
}

// resolution is a question about the owner of an address, and the answers so far.
type resolution struct {
	*tap
	iface string
	mac   net.HardwareAddr // of the one who asks
	own   netip.Addr
	about netip.Addr
	hosts map[string]string   // nodes by their MAC addresses
	fence map[netip.Addr]bool // what hosts of the network have to answer first; true: it came
	who   []string
}

// whoHas returns the nodes that answer for an address. Each host of the network is asked for
// an address of its own after it: a kernel answers in the order in which it was asked, so when
// that answer has come there is none to wait for.
func (r *checkRun) whoHas() ([]string, error) {
	q, err := r.ask()
	if err != nil {
		return nil, err
	}
	defer q.close()
	if err := q.solicit(q.about); err != nil {
		return nil, err
	}
	for a := range q.fence {
		if err := q.solicit(a); err != nil {
			return nil, err
		}
	}
	if err := q.collect(time.Now().Add(r.Within)); err != nil {
		return nil, err
	}
	slices.Sort(q.who)
	return q.who, nil
}

// collect notes answers until none can come any more, or until the deadline, however many other
// frames come.
func (q *resolution) collect(deadline time.Time) error {
	for !q.complete() && time.Now().Before(deadline) {
		f, err := q.next(deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		q.note(f.bytes)
	}
	return nil
}

// ask prepares the question.
func (r *checkRun) ask() (*resolution, error) {
	about, err := r.lab.Topology.resolve(r.To)
	if err != nil {
		return nil, err
	}
	q := &resolution{about: about, hosts: map[string]string{}, fence: map[netip.Addr]bool{}}
	for i := range r.lab.Topology.Nodes {
		n := &r.lab.Topology.Nodes[i]
		look, err := r.lab.Look(n.Name)
		if err != nil {
			return nil, err
		}
		for _, l := range look.Links {
			q.hosts[l.MAC] = n.Name
			own, beside := l.beside(about)
			switch {
			case n.Name == r.From && beside && q.iface == "":
				q.iface, q.own = l.Name, own
				q.mac, err = net.ParseMAC(l.MAC)
			case n.Name != r.From && beside && n.Role != Director:
				q.fence[own] = false
			}
			if err != nil {
				return nil, fmt.Errorf("lab: %s: %s: %w", n.Name, l.Name, err)
			}
		}
	}
	if q.iface == "" {
		return nil, fmt.Errorf("lab: %s is not on the network of %s", r.From, about)
	}
	q.tap, err = r.lab.tap(r.From)
	return q, err
}

// beside returns the address of an Ethernet link in whose network another one is.
func (l *Link) beside(a netip.Addr) (own netip.Addr, ok bool) {
	for _, p := range l.Addresses {
		if l.MAC != "" && l.Up && !p.IsSingleIP() && p.Contains(a) && p.Addr() != a {
			return p.Addr(), true
		}
	}
	return own, false
}

// complete reports whether no more answers can come. A director answers by itself, later than
// the kernels.
func (q *resolution) complete() bool {
	for _, came := range q.fence {
		if !came {
			return false
		}
	}
	return len(q.who) > 0
}

// note takes note of an answer.
func (q *resolution) note(frame []byte) {
	about, mac, ok := answered(frame)
	if !ok || bytes.Equal(mac, q.mac) {
		return
	}
	if _, fenced := q.fence[about]; fenced {
		q.fence[about] = true
	}
	if about != q.about {
		return
	}
	node := q.hosts[mac.String()]
	if node == "" {
		node = mac.String()
	}
	if !slices.Contains(q.who, node) {
		q.who = append(q.who, node)
	}
}

// answered returns who answers for which address in a frame, if it is such an answer.
func answered(frame []byte) (a netip.Addr, mac net.HardwareAddr, ok bool) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	eth, isEthernet := p.LinkLayer().(*layers.Ethernet)
	if !isEthernet {
		return a, nil, false
	}
	if arp, isARP := p.Layer(layers.LayerTypeARP).(*layers.ARP); isARP && arp.Operation == layers.ARPReply {
		a, ok = netip.AddrFromSlice(arp.SourceProtAddress)
		return a, arp.SourceHwAddress, ok
	}
	if na, isNA := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); isNA {
		a, ok = netip.AddrFromSlice(na.TargetAddress)
		return a, eth.SrcMAC, ok
	}
	return a, nil, false
}

// solicit asks who has an address: by an ARP probe, which changes nobody's table (RFC 5227
// section 2.1.1), or by neighbour solicitation (RFC 4861 section 4.3).
func (q *resolution) solicit(a netip.Addr) error {
	frame := gopacket.NewSerializeBuffer()
	eth := &layers.Ethernet{SrcMAC: q.mac, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP}
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	var err error
	if a.Is4() {
		err = gopacket.SerializeLayers(frame, options, eth, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: q.mac, SourceProtAddress: make([]byte, 4),
			DstHwAddress: make([]byte, 6), DstProtAddress: a.AsSlice(),
		})
	} else {
		last := a.As16()
		group := netip.MustParseAddr("ff02::1:ff00:0").As16() // solicited-node (RFC 4291 section 2.7.1)
		copy(group[13:], last[13:])
		eth.EthernetType, eth.DstMAC = layers.EthernetTypeIPv6, append(net.HardwareAddr{0x33, 0x33}, group[12:]...)
		ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: q.own.AsSlice(), DstIP: group[:]}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		err = gopacket.SerializeLayers(frame, options, eth, ip, icmp, &layers.ICMPv6NeighborSolicitation{
			TargetAddress: a.AsSlice(),
			Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: q.mac}},
		})
	}
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return q.send(q.iface, frame.Bytes())
}
