package frame

import "encoding/binary"

// InferOffload infers the Offload of a frame that came without offload facts, from a
// plain socket or a TAP device. mtu is that of the ingress interface, in bytes. The
// frame must have been parsed.
//
// A transport checksum that equals the sum of the pseudo-header is partial: the sender
// left the rest to hardware. If a complete checksum happens to have that value,
// completing it gives the same value again, so nothing is lost. A TCP packet larger
// than the MTU is several segments in one, each as large as the MTU allows; the
// sender's own segment size is not visible.
func (f *Frame) InferOffload(mtu int) {
	if !f.Info.HasPorts || f.Info.Fragment {
		return
	}
	at, ok := l4ChecksumOffset(f.Info.Proto)
	if !ok {
		return
	}
	l4 := f.L4()
	pseudo := PseudoSum(f.Flow[flowSrc:flowSrc+16], f.Flow[flowDst:flowDst+16], f.Info.Proto, len(l4))
	if binary.BigEndian.Uint16(l4[at:]) == Fold(pseudo) {
		f.Offload.Flags = OffloadPartial
		f.Offload.CsumStart, f.Offload.CsumOffset = uint16(f.l4-f.start), uint16(at)
	}
	if f.Info.Proto == ProtoTCP && f.L3Len() > mtu {
		f.inferSegments(mtu, int(l4[12]>>4)*4)
	}
}

func (f *Frame) inferSegments(mtu, tcpHeader int) {
	headers := f.IPHeaderLen() + tcpHeader
	if headers >= mtu {
		return
	}
	f.Offload.GSOType = GSOTCP4
	if f.Is6() {
		f.Offload.GSOType = GSOTCP6
	}
	f.Offload.HeaderLen = uint16(EthernetLen + headers)
	f.Offload.GSOSize = uint16(mtu - headers)
}
