package afpacket

import (
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// link is what a ring knows of its interface.
type link struct {
	index  int
	mtu    int
	vnet   bool // a virtio header stands before each frame
	parser frame.Parser
}

// vlanID masks the identifier in tag control information. Identifier 0 is a
// priority tag: the frame belongs to no VLAN (IEEE 802.1Q section 6.9).
const vlanID = 0x0fff

// describe tells f what travelled beside it: the interface, the virtio header,
// the 802.1Q tag that the kernel took out. status is the slot's.
func (l *link) describe(f *frame.Frame, status uint32, tci uint16) {
	f.Ingress = l.index
	buf, start, _ := f.Buffer()
	switch {
	case l.vnet && start >= frame.OffloadLen:
		f.Offload.Decode(buf[start-frame.OffloadLen : start])
	case status&(unix.TP_STATUS_CSUMNOTREADY|unix.TP_STATUS_GSO_TCP) != 0:
		if l.parser.Parse(f) == frame.Continue {
			f.InferOffload(l.mtu)
		}
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 && tci&vlanID != 0 {
		f.Info.VLAN = tci
	}
}
