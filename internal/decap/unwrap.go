package decap

import (
	"encoding/binary"
	"errors"

	"uvs/forwarder/frame"
)

var errMalformed = errors.New("malformed packet")

// plain is IP in IP (RFC 2003, RFC 2473, RFC 4213): the payload is the packet.
func plain(b []byte) ([]byte, error) { return b, nil }

// GRE flags and versions (RFC 2784 section 2.1, RFC 2890 section 2).
const (
	greChecksum = 0x8000
	greRouting  = 0x4000 // obsolete; its header has no fixed length
	greKey      = 0x2000
	greSequence = 0x1000
	greVersion  = 0x0007
)

// gre removes a GRE header. IPVS sends no key and no sequence number; other senders may,
// and gre skips them.
func gre(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, errMalformed
	}
	flags, proto := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if flags&(greVersion|greRouting) != 0 || proto != 0x0800 && proto != 0x86dd {
		return nil, errMalformed
	}
	n := 4
	if flags&greChecksum != 0 {
		if frame.Checksum(b) != 0 {
			return nil, errMalformed
		}
		n += 4
	}
	if flags&greKey != 0 {
		n += 4
	}
	if flags&greSequence != 0 {
		n += 4
	}
	if len(b) < n {
		return nil, errMalformed
	}
	return b[n:], nil
}

// GUE header fields (draft-ietf-intarea-gue section 3; include/net/gue.h).
const (
	gueControl   = 0x20
	guePrivate   = 0x0001     // a word of private flags follows the optional fields
	gueRemoteSum = 0x80000000 // private: start and offset of a checksum to compute here
)

// gue removes a GUE header. Version 1 has none: the payload is the packet.
func gue(b []byte) ([]byte, error) {
	if len(b) > 0 && b[0]>>6 == 1 {
		return b, nil
	}
	if len(b) < 4 || b[0]>>6 != 0 || b[0]&gueControl != 0 || b[1] != 4 && b[1] != 41 {
		return nil, errMalformed
	}
	end := 4 + int(b[0]&0x1f)*4
	if len(b) < end {
		return nil, errMalformed
	}
	inner := b[end:]
	if binary.BigEndian.Uint16(b[2:])&guePrivate == 0 || end < 8 {
		return inner, nil
	}
	if binary.BigEndian.Uint32(b[4:])&gueRemoteSum == 0 {
		return inner, nil
	}
	if end < 12 {
		return nil, errMalformed
	}
	return inner, remoteChecksum(inner, int(binary.BigEndian.Uint16(b[8:])), int(binary.BigEndian.Uint16(b[10:])))
}

// remoteChecksum computes the checksum that the sender left to the receiver: over all bytes
// from start, into the field at offset, which holds the sum of the pseudo-header.
func remoteChecksum(b []byte, start, offset int) error {
	if start > len(b) || offset < start || offset+2 > len(b) {
		return errMalformed
	}
	binary.BigEndian.PutUint16(b[offset:], frame.Checksum(b[start:]))
	return nil
}

// Inner returns the packet inside the payload of a tunnel's: of the protocols 4 and 41 (IP in
// IP), 47 (GRE) and 17, which is the payload of GUE's UDP datagram. A checksum that the sender
// left to the receiver is computed in place.
func Inner(proto uint8, payload []byte) (packet []byte, err error) {
	unwrap := map[uint8]func([]byte) ([]byte, error){
		frame.ProtoIPIP: plain, frame.ProtoIPv6: plain, frame.ProtoGRE: gre, frame.ProtoUDP: gue,
	}[proto]
	if unwrap == nil {
		return nil, errMalformed
	}
	if packet, err = unwrap(payload); err != nil {
		return nil, err
	}
	return trim(packet)
}

// trim checks the inner header and cuts off what follows the packet.
func trim(b []byte) ([]byte, error) {
	if len(b) < 20 {
		return nil, errMalformed
	}
	var n, header int
	switch b[0] >> 4 {
	case 4:
		n, header = int(binary.BigEndian.Uint16(b[2:])), int(b[0]&0xf)*4
	case 6:
		n, header = 40+int(binary.BigEndian.Uint16(b[4:])), 40
	}
	if header < 20 || n < header || n > len(b) {
		return nil, errMalformed
	}
	return b[:n], nil
}

// ECN codepoints (RFC 3168 section 5).
const (
	ecnMask = 3
	ecnCE   = 3
)

// propagateECN copies a congestion mark of the outer header into the inner one (RFC 6040
// section 4.2). It reports false for a packet to drop: one that met congestion and is not
// ECN-capable.
func propagateECN(outerTOS byte, b []byte) bool {
	if outerTOS&ecnMask != ecnCE {
		return true
	}
	if b[0]>>4 == 6 {
		if b[1]>>4&ecnMask == 0 {
			return false
		}
		b[1] |= ecnCE << 4
		return true
	}
	if b[1]&ecnMask == 0 {
		return false
	}
	was := [2]byte{b[0], b[1]}
	b[1] |= ecnCE
	frame.Apply(b[10:12], frame.Delta(was[:], b[0:2]))
	return true
}

// completeChecksum completes a TCP or UDP checksum that holds only the sum of the
// pseudo-header. Receive offload leaves it like that in the segments it merges, and a raw
// socket does not report it.
func completeChecksum(b []byte) {
	l4, proto, src, dst := transport(b)
	field := map[byte]int{frame.ProtoTCP: 16, frame.ProtoUDP: 6}[proto]
	if field == 0 || len(l4) < field+2 {
		return
	}
	sum := frame.Fold(frame.PseudoSum(src, dst, proto, len(l4)))
	if binary.BigEndian.Uint16(l4[field:]) != sum {
		return
	}
	c := frame.Checksum(l4)
	if c == 0 && proto == frame.ProtoUDP {
		c = 0xffff // RFC 768: zero means that no checksum was made
	}
	binary.BigEndian.PutUint16(l4[field:], c)
}

// transport returns what the inner IP header carries, if it is a whole packet
// without extension headers. The header has been checked by trim.
func transport(b []byte) (l4 []byte, proto byte, src, dst []byte) {
	if b[0]>>4 == 6 {
		return b[40:], b[6], b[8:24], b[24:40]
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // a fragment (RFC 791 section 3.1)
		return nil, 0, nil, nil
	}
	return b[int(b[0]&0xf)*4:], b[9], b[12:16], b[16:20]
}
