package afpacket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// link is what a ring knows about its interface, or about all.
type link struct {
	index  int // 0: all, and the ring gives the one on which a frame arrived
	mtu    int
	vnet   bool // a virtio header precedes each frame
	parser frame.Parser
}

// vlanID masks the identifier in tag control information. Identifier 0 is a
// priority tag: the frame belongs to no VLAN (IEEE 802.1Q section 6.9).
const vlanID = 0x0fff

// describe fills in the facts about f: the interface, the virtio header, the 802.1Q tag
// that the kernel stripped. status is that of the slot, from is the address in it;
// header is how many bytes precede the network header.
func (l *link) describe(f *frame.Frame, status uint32, tci uint16, from *unix.RawSockaddrLinklayer, header int) {
	f.Ingress = l.index
	buf, start, _ := f.Buffer()
	facts := l.vnet && start >= frame.OffloadLen
	if facts {
		f.Offload.Decode(buf[start-frame.OffloadLen : start])
	}
	if l.index == 0 {
		f.Ingress = int(from.Ifindex)
		if from.Hatype != unix.ARPHRD_ETHER && from.Hatype != unix.ARPHRD_LOOPBACK {
			f.AddEthernet(header, toHost(from.Protocol))
		}
	}
	if !facts && status&(unix.TP_STATUS_CSUMNOTREADY|unix.TP_STATUS_GSO_TCP) != 0 && l.parser.Parse(f) == frame.Continue {
		f.InferOffload(l.mtu)
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 && tci&vlanID != 0 {
		f.Info.VLAN = tci
	}
}

// toHost returns a number that is in network byte order.
func toHost(n uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return binary.BigEndian.Uint16(b[:])
}

// describeLink returns the name of the interface with an index, and whether its
// frames have an Ethernet header (netdevice(7)).
func describeLink(index int) (name string, ethernet bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", false, err
	}
	defer unix.Close(fd)
	return describeLinkBy(fd, index)
}

// describeLinkBy is describeLink by a socket of any type.
func describeLinkBy(fd, index int) (name string, ethernet bool, err error) {
	r, _ := unix.NewIfreq("")
	r.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, r); err != nil {
		return "", false, err
	}
	name = r.Name()
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, r); err != nil {
		return "", false, err
	}
	hardware := r.Uint16() // sa_family of the address
	return name, hardware == unix.ARPHRD_ETHER || hardware == unix.ARPHRD_LOOPBACK, nil
}
