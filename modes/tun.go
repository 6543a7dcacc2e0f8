package modes

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// Tunnel encapsulates packets for one real server, ipvsadm -i: in another IP
// header (RFC 2003, RFC 2473), or in GRE (RFC 2784) or GUE (draft-ietf-intarea-gue)
// under an outer IP header. The inner and outer address families may differ. Make
// it with NewTunnel.
//
// As in IPVS (ip_vs_xmit.c, ip_vs_tunnel_xmit), the outer header takes TTL and TOS
// from the inner one, ECN by the full-functionality option of RFC 3168, and DF if
// path MTU discovery is on. A packet too large for the path whose sender did not
// set DF leaves in outer fragments.
type Tunnel struct {
	// Options are what NewTunnel was given. They do not change.
	Options TunnelOptions

	outer   uint16   // EtherType of the outer header
	ipLen   int      // length of the outer IP header
	headers [60]byte // outer headers, with all fields that are the same in every packet
	id      atomic.Uint32
}

// TunnelOptions say where a tunnel leads and how.
type TunnelOptions struct {
	Type  config.TunnelType
	Flags config.TunnelFlags
	Port  uint16     // GUE: UDP destination port
	Src   netip.Addr // the director's address towards the server
	Dst   netip.Addr // the server's, same family
	// PMTUDisc is the kernel's sysctl pmtu_disc: DF is copied to the outer
	// header and DF packets that are too large are refused.
	PMTUDisc bool
}

var _ Encapsulator = (*Tunnel)(nil)

const (
	gueLen       = 4
	gueFlagPriv  = 0x0100     // GUE: private flags follow
	guePrivSum   = 0x80000000 // private flag: remote checksum offload
	gueRemoteLen = 8          // private flags and the two offsets
	greFlagSum   = 0x8000
)

// NewTunnel returns the mode for a real server that decapsulates.
func NewTunnel(o TunnelOptions) *Tunnel {
	t := &Tunnel{Options: o}
	h := t.headers[:]
	if o.Dst.Is4() {
		t.outer, t.ipLen = frame.EtherIPv4, 20
		h[0], h[9] = 0x45, t.proto()
		copy(h[12:], o.Src.AsSlice())
		copy(h[16:], o.Dst.AsSlice())
	} else {
		t.outer, t.ipLen = frame.EtherIPv6, 40
		h[0], h[6] = 0x60, t.proto()
		copy(h[8:], o.Src.AsSlice())
		copy(h[24:], o.Dst.AsSlice())
	}
	return t
}

// proto returns the outer header's protocol, 0 where it is that of the inner
// packet.
func (t *Tunnel) proto() uint8 {
	switch t.Options.Type {
	case config.GUE:
		return frame.ProtoUDP
	case config.GRE:
		return frame.ProtoGRE
	}
	return 0
}

// tunnelTo returns the mode towards a server. The host itself needs no tunnel to its
// own addresses.
func tunnelTo(t Target) Mode {
	switch {
	case t.Host:
		return DR{}
	case !t.Source.IsValid():
		return nil
	}
	return NewTunnel(TunnelOptions{
		Type: t.TunnelType, Flags: t.TunnelFlags, Port: t.TunnelPort,
		Src: t.Source, Dst: t.Addr, PMTUDisc: t.PMTUDisc,
	})
}

// Sends reports whether outer packets of the tunnel have this flow.
func (t *Tunnel) Sends(outer frame.Flow) bool {
	return t.Options.Src == outer.Src() && t.Options.Dst == outer.Dst()
}

// Overhead returns how many bytes the tunnel adds to a packet, not counting the
// eight of remote checksum offload.
func (t *Tunnel) Overhead() int { return t.ipLen + t.shimLen() }

// shimLen returns the length of the headers between the two IP headers.
func (t *Tunnel) shimLen() int {
	switch t.Options.Type {
	case config.GUE:
		return 8 + gueLen
	case config.GRE:
		if t.Options.Flags&config.TunnelCsum != 0 {
			return 8
		}
		return 4
	}
	return 0
}

// Request encapsulates the packet.
func (t *Tunnel) Request(f *frame.Frame, _ *conntrack.Conn) frame.Verdict {
	if f.Offload.Super() {
		return frame.DropUnsupported
	}
	if !f.DecrementTTL() {
		return frame.DropTTL
	}
	remote := t.remoteChecksum(f)
	add := t.Overhead()
	if remote {
		add += gueRemoteLen
	}
	if v := t.checkSize(f, add); v != frame.Forward {
		return v
	}
	if !remote {
		f.CompleteChecksum()
	}
	f.Pieces.Wrap(add - t.ipLen + innerHeaderLen(f))
	return t.wrap(f, add, remote)
}

// Reply is Pass: the server answers the client itself.
func (t *Tunnel) Reply(*frame.Frame, *conntrack.Conn) frame.Verdict { return frame.Pass }

// Whole is false: AF_PACKET's offloads do not cover tunnels.
func (t *Tunnel) Whole() bool { return false }

// remoteChecksum reports whether the receiver is asked to finish the checksum that the
// sender left partial.
func (t *Tunnel) remoteChecksum(f *frame.Frame) bool {
	return t.Options.Type == config.GUE && t.Options.Flags&config.TunnelRemCsum != 0 &&
		f.PartialL4()
}

// checkSize compares the packet with what the path's MTU leaves after add bytes of
// outer headers. It sets f.MTU to that if it refuses the frame.
func (t *Tunnel) checkSize(f *frame.Frame, add int) frame.Verdict {
	if f.MTU == 0 {
		return frame.Forward
	}
	room := f.MTU - add
	if t.outer == frame.EtherIPv4 && room < 68 || t.outer == frame.EtherIPv6 && room < 1280 {
		return frame.DropUnsupported
	}
	if f.Is4() && !t.Options.PMTUDisc || !tooBig(f, f.L3Len(), room) {
		return frame.Forward
	}
	f.MTU = room
	return frame.DropTooBig
}

// innerHeaderLen returns the length of the headers that each fragment repeated and
// that are now data of the outer packet.
func innerHeaderLen(f *frame.Frame) int {
	if f.Is4() {
		return f.IPHeaderLen()
	}
	return f.PerFragmentLen()
}

// inner is what the outer headers take from the inner packet.
type inner struct {
	proto  uint8  // of the packet in its outer header: 4 or 41
	ether  uint16 // its EtherType
	tos    uint8
	ttl    uint8
	df     bool
	pieces bool // it arrived in fragments and will leave in fragments
	hash   uint64
	csum   uint16 // where a partial checksum begins, from the inner IP header
	field  uint16 // and where it goes
}

func (t *Tunnel) inspect(f *frame.Frame) inner {
	ip := f.L3()
	if f.Is4() {
		return inner{proto: frame.ProtoIPIP, ether: frame.EtherIPv4, tos: ip[1], ttl: ip[8], df: f.Info.DF && t.Options.PMTUDisc}
	}
	return inner{proto: frame.ProtoIPv6, ether: frame.EtherIPv6, tos: class6(f), ttl: ip[7]}
}

// wrap pushes add bytes of outer headers and writes them.
func (t *Tunnel) wrap(f *frame.Frame, add int, remote bool) frame.Verdict {
	in := t.inspect(f)
	in.pieces = f.Pieces != nil
	if remote {
		in.csum = f.Offload.CsumStart - frame.EthernetLen
		in.field = in.csum + f.Offload.CsumOffset
		f.Offload = frame.Offload{}
	}
	if f.L3Len()+add > t.maxLen() {
		return frame.DropUnsupported
	}
	b, ok := f.Push(add, t.outer)
	if !ok {
		return frame.DropUnsupported
	}
	copy(b, t.headers[:t.ipLen])
	t.outerIP(f.L3(), &in)
	switch shim := f.L3()[t.ipLen:]; t.Options.Type {
	case config.GUE:
		in.hash = f.Flow.Hash(0)
		t.gue(f, shim, &in, remote)
	case config.GRE:
		t.gre(shim, &in)
	}
	return frame.Forward
}

// maxLen returns the length of the largest outer packet in bytes: IPv6's length
// field does not count the header (RFC 8200 section 3).
func (t *Tunnel) maxLen() int {
	if t.ipLen == 40 {
		return 65535 + 40
	}
	return 65535
}

// outerIP writes the outer IP header.
func (t *Tunnel) outerIP(ip []byte, in *inner) {
	tos := ecnOuter(in.tos)
	if t.outer == frame.EtherIPv6 {
		binary.BigEndian.PutUint32(ip, 6<<28|uint32(tos)<<20)
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		if t.Options.Type == config.IPIP {
			ip[6] = in.proto
		}
		ip[7] = in.ttl
		return
	}
	ip[1] = tos
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	if in.df {
		binary.BigEndian.PutUint16(ip[6:], 0x4000)
	}
	if !in.df || in.pieces { // RFC 6864: an atomic packet needs no identification
		binary.BigEndian.PutUint16(ip[4:], uint16(t.id.Add(1)))
	}
	ip[8] = in.ttl
	if t.Options.Type == config.IPIP {
		ip[9] = in.proto
	}
	binary.BigEndian.PutUint16(ip[10:], frame.Checksum(ip[:20]))
}

// ecnOuter returns the outer TOS: the inner one, but "congestion experienced"
// inside is ECT(0) outside (RFC 3168 section 9.1.1).
func ecnOuter(tos uint8) uint8 {
	if tos&3 == 3 {
		return tos&^3 | 2
	}
	return tos
}

// gue writes the UDP and GUE headers at shim, which runs to the packet's end. The
// source port spreads flows over the receiver's queues and the paths to it (RFC
// 7510 section 3), within the range of a host's ephemeral ports.
func (t *Tunnel) gue(f *frame.Frame, shim []byte, in *inner, remote bool) {
	const low, high = 32768, 60999
	binary.BigEndian.PutUint16(shim, low+uint16(in.hash>>32*(high-low)>>32))
	binary.BigEndian.PutUint16(shim[2:], t.Options.Port)
	binary.BigEndian.PutUint16(shim[4:], uint16(len(shim)))
	binary.BigEndian.PutUint16(shim[6:], 0)
	binary.BigEndian.PutUint32(shim[8:], uint32(in.proto)<<16)
	if remote {
		binary.BigEndian.PutUint32(shim[8:], 2<<24|uint32(in.proto)<<16|gueFlagPriv)
		binary.BigEndian.PutUint32(shim[12:], guePrivSum)
		binary.BigEndian.PutUint16(shim[16:], in.csum)
		binary.BigEndian.PutUint16(shim[18:], in.field)
	}
	if t.Options.Flags&(config.TunnelCsum|config.TunnelRemCsum) != 0 {
		f.SumUDP(shim)
	}
}

// gre writes the GRE header at shim, which runs to the packet's end.
func (t *Tunnel) gre(shim []byte, in *inner) {
	if t.Options.Flags&config.TunnelCsum == 0 {
		binary.BigEndian.PutUint32(shim, uint32(in.ether))
		return
	}
	binary.BigEndian.PutUint32(shim, greFlagSum<<16|uint32(in.ether))
	binary.BigEndian.PutUint32(shim[4:], 0)
	binary.BigEndian.PutUint16(shim[4:], frame.Checksum(shim))
}
