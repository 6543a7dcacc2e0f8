package frame

import "encoding/binary"

// Offload is what the sender of a frame left to the hardware, in the terms of struct
// virtio_net_hdr (virtio 1.2 section 5.1.6, linux/virtio_net.h), which AF_PACKET
// passes with each frame if PACKET_VNET_HDR is set. The zero value is an ordinary
// frame: a complete checksum, one packet.
type Offload struct {
	Flags      uint8  // OffloadPartial, OffloadValid
	GSOType    uint8  // GSONone, GSOTCP4, GSOTCP6, GSOUDP, GSOUDPL4; GSOECN may be set besides
	HeaderLen  uint16 // bytes of headers to repeat in each segment, from the Ethernet header; a hint
	GSOSize    uint16 // payload bytes in each segment
	CsumStart  uint16 // offset from the Ethernet header where summing begins
	CsumOffset uint16 // offset from CsumStart of the checksum field
}

// Values of Offload.Flags and Offload.GSOType.
const (
	OffloadPartial = 1 // checksum field holds only the pseudo-header's sum
	OffloadValid   = 2 // checksum was verified by the receiver's hardware

	GSONone  = 0
	GSOTCP4  = 1
	GSOUDP   = 3
	GSOTCP6  = 4
	GSOUDPL4 = 5
	GSOECN   = 0x80
)

// OffloadLen is the length of the virtio_net_hdr in bytes.
const OffloadLen = 10

// Partial reports whether the transport checksum still has to be computed: the
// field holds the un-complemented sum of the pseudo-header.
func (o *Offload) Partial() bool { return o.Flags&OffloadPartial != 0 }

// Super reports whether the frame is several segments in one.
func (o *Offload) Super() bool { return o.GSOType&^GSOECN != GSONone }

// Decode reads the facts from the first OffloadLen bytes of b.
func (o *Offload) Decode(b []byte) {
	_ = b[OffloadLen-1]
	o.Flags = b[0]
	o.GSOType = b[1]
	o.HeaderLen = binary.NativeEndian.Uint16(b[2:])
	o.GSOSize = binary.NativeEndian.Uint16(b[4:])
	o.CsumStart = binary.NativeEndian.Uint16(b[6:])
	o.CsumOffset = binary.NativeEndian.Uint16(b[8:])
}

// Encode writes the facts to the first OffloadLen bytes of b.
func (o *Offload) Encode(b []byte) {
	_ = b[OffloadLen-1]
	b[0] = o.Flags & OffloadPartial
	b[1] = o.GSOType
	binary.NativeEndian.PutUint16(b[2:], o.HeaderLen)
	binary.NativeEndian.PutUint16(b[4:], o.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], o.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], o.CsumOffset)
}
