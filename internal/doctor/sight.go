package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/lab/wire"
)

// Sight is what a look at packets showed.
type Sight struct {
	Seconds float64    `json:"seconds"`
	Packets int        `json:"packets"`
	Seen    []Sighting `json:"seen,omitempty"`
	Claims  []Claim    `json:"claims,omitempty"`
}

// Sighting is how often packets of one kind were seen between two addresses.
type Sighting struct {
	Kind  string         `json:"kind"` // syn, syn-ack, rst, or icmp TYPE/CODE
	From  netip.AddrPort `json:"from"`
	To    netip.AddrPort `json:"to"`
	Sent  bool           `json:"sent,omitempty"` // by this host, not to it
	Link  string         `json:"link"`
	Count int            `json:"count"`
}

// Claim is an ARP message in which another host says that it has an address.
type Claim struct {
	Addr  netip.Addr `json:"addr"`
	MAC   string     `json:"mac"`
	Link  string     `json:"link"`
	Count int        `json:"count"`
}

const (
	maxLook     = 200_000 // packets; a busy host shows what it has to show earlier
	maxSighting = 2_000

	maxQuestions = 1_000 // by ARP, at once: each is a broadcast
)

// look counts packets for a while. Meanwhile it asks by ARP who has the virtual addresses,
// and lets the kernel find the neighbours behind the other addresses.
func (h *Host) look(ctx context.Context, d time.Duration, c *client.Client, about []netip.Addr) {
	if d <= 0 {
		return
	}
	began := time.Now()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(wire.NetworkOrder(unix.ETH_P_ALL)))
	if err != nil {
		h.unseen("packets", err)
		return
	}
	defer unix.Close(fd)
	h.solicit(about)
	h.probe(fd)
	h.capture(ctx, fd, began.Add(d))
	h.Sight.Seconds = time.Since(began).Seconds()
	if h.Director != nil {
		h.readAgain(ctx, c)
	}
}

// solicit has the kernel look for the next hops of addresses, as "ip neighbour add … use"
// does (neighbour entries with NTF_USE): it sends ARP requests or solicitations, nothing
// to the addresses themselves.
func (h *Host) solicit(about []netip.Addr) {
	for _, a := range about {
		w := h.Ways[a.String()]
		hop := a
		if w.Gateway.IsValid() {
			hop = w.Gateway
		}
		link, err := netlink.LinkByName(w.Link)
		if err != nil || w.Local || w.Error != "" || link.Attrs().Flags&unix.IFF_LOOPBACK != 0 {
			continue
		}
		family := netlink.FAMILY_V4
		if hop.Is6() {
			family = netlink.FAMILY_V6
		}
		// Without privilege the neighbours are those that are known.
		_ = netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: family, IP: hop.AsSlice(), Flags: unix.NTF_USE, State: unix.NUD_NONE,
		})
	}
}

// probe asks who has the virtual addresses, by ARP probes, which change nobody's table
// (RFC 5227 section 2.1.1).
func (h *Host) probe(fd int) {
	all := h.questions()
	if left := len(all) - maxQuestions; left > 0 {
		h.unseen("ARP", fmt.Errorf("%d questions about virtual addresses were not asked, beyond the first %d", left, maxQuestions))
		all = all[:maxQuestions]
	}
	for _, q := range all {
		to := unix.SockaddrLinklayer{Ifindex: q.link.Index, Protocol: wire.NetworkOrder(unix.ETH_P_ARP)}
		_ = unix.Sendto(fd, arpProbe(q.mac, q.addr), 0, &to)
	}
}

// question is who on a link has an address.
type question struct {
	link *Link
	mac  [6]byte // the link's own
	addr netip.Addr
}

// questions returns what to ask by ARP: about each virtual address once, on each Ethernet
// whose network it is in or, if there is none, on that by which it is reached.
func (h *Host) questions() (all []question) {
	if h.Director == nil {
		return nil
	}
	asked := map[netip.Addr]bool{}
	for i := range h.Director.Services {
		a := h.Director.Services[i].Addr
		if !a.Is4() || asked[a] {
			continue
		}
		asked[a] = true
		for _, name := range h.networks(a) {
			l := h.link(name)
			if l == nil || !l.Up {
				continue
			}
			if mac, err := net.ParseMAC(l.MAC); err == nil && len(mac) == 6 {
				all = append(all, question{l, [6]byte(mac), a})
			}
		}
	}
	return all
}

// networks returns the links, but for loopback, that have an address in the network of a.
// If none has, it is the link of the most specific route, if there is one.
func (h *Host) networks(a netip.Addr) (links []string) {
	for i := range h.Addresses {
		p := &h.Addresses[i]
		l := h.link(p.Link)
		beside := !p.Prefix.IsSingleIP() && p.Prefix.Contains(a) && l != nil && !l.Loopback
		if beside && !slices.Contains(links, p.Link) {
			links = append(links, p.Link)
		}
	}
	if r := h.covering(a); r != nil && len(links) == 0 {
		links = append(links, r.Link)
	}
	return links
}

// arpProbe returns a broadcast frame that asks for an address, from nobody.
func arpProbe(mac [6]byte, a netip.Addr) []byte {
	b := slices.Concat(
		[]byte{255, 255, 255, 255, 255, 255}, mac[:], []byte{8, 6},
		[]byte{0, 1, 8, 0, 6, 4, 0, 1}, mac[:], make([]byte, 4), make([]byte, 6), a.AsSlice())
	return append(b, make([]byte, 60-len(b))...)
}

// capture counts packets until the time has come.
func (h *Host) capture(ctx context.Context, fd int, until time.Time) {
	buf := make([]byte, 256) // headers are enough
	seen := map[Sighting]int{}
	for h.Sight.Packets < maxLook && ctx.Err() == nil {
		left := time.Until(until)
		if left <= 0 {
			break
		}
		tv := unix.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			h.unseen("packets", os.NewSyscallError("setsockopt", err))
			return
		}
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if err != nil || !ok {
			h.unseen("packets", err)
			return
		}
		h.Sight.Packets++
		h.sort(buf[:min(n, len(buf))], ll, seen)
	}
	for s, n := range seen {
		s.Count = n
		h.Sight.Seen = append(h.Sight.Seen, s)
	}
}

// sort counts one frame by what it is.
func (h *Host) sort(b []byte, ll *unix.SockaddrLinklayer, seen map[Sighting]int) {
	sent := ll.Pkttype == unix.PACKET_OUTGOING
	link := h.linkName(ll.Ifindex)
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		if !sent {
			h.claim(arp, link)
		}
		return
	}
	s, ok := sighting(p)
	s.Sent, s.Link = sent, link
	if _, known := seen[s]; ok && (known || len(seen) < maxSighting) {
		seen[s]++
	}
}

// sighting tells what a packet is, if it is of a kind that is counted. Clients are counted
// without their ports.
func sighting(p gopacket.Packet) (s Sighting, ok bool) {
	from, to := addresses(p)
	switch {
	case p.Layer(layers.LayerTypeTCP) != nil:
		tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		switch {
		case tcp.RST:
			s.Kind = "rst"
		case tcp.SYN && tcp.ACK:
			s.Kind = "syn-ack"
		case tcp.SYN:
			s.Kind = "syn"
		default:
			return s, false
		}
		s.From, s.To = netip.AddrPortFrom(from, uint16(tcp.SrcPort)), netip.AddrPortFrom(to, uint16(tcp.DstPort))
		if tcp.SYN && !tcp.ACK {
			s.From = netip.AddrPortFrom(from, 0)
		} else {
			s.To = netip.AddrPortFrom(to, 0)
		}
	case p.Layer(layers.LayerTypeICMPv4) != nil:
		icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		s.Kind = fmt.Sprintf("icmp %d/%d", icmp.TypeCode.Type(), icmp.TypeCode.Code())
		s.From, s.To = netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0)
	default:
		return s, false
	}
	return s, from.IsValid()
}

// addresses returns those of the outermost IP header.
func addresses(p gopacket.Packet) (from, to netip.Addr) {
	n := p.NetworkLayer()
	if n == nil {
		return from, to
	}
	src, dst := n.NetworkFlow().Endpoints()
	from, _ = netip.AddrFromSlice(src.Raw())
	to, _ = netip.AddrFromSlice(dst.Raw())
	return from, to
}

func (h *Host) linkName(index int) string {
	for i := range h.Links {
		if h.Links[i].Index == index {
			return h.Links[i].Name
		}
	}
	return ""
}

// claim notes who says to have an address.
func (h *Host) claim(arp *layers.ARP, link string) {
	a, ok := netip.AddrFromSlice(arp.SourceProtAddress)
	mac := net.HardwareAddr(arp.SourceHwAddress).String()
	own := slices.ContainsFunc(h.Links, func(l Link) bool { return l.MAC == mac })
	if !ok || a.IsUnspecified() || own || len(arp.SourceHwAddress) != 6 {
		return
	}
	i := slices.IndexFunc(h.Sight.Claims, func(c Claim) bool { return c.Addr == a && c.MAC == mac && c.Link == link })
	if i < 0 {
		i = len(h.Sight.Claims)
		h.Sight.Claims = append(h.Sight.Claims, Claim{Addr: a, MAC: mac, Link: link})
	}
	h.Sight.Claims[i].Count++
}

// count sums up sightings that fit.
func (s *Sight) count(fits func(*Sighting) bool) (n int) {
	for i := range s.Seen {
		if fits(&s.Seen[i]) {
			n += s.Seen[i].Count
		}
	}
	return n
}
