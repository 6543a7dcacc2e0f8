package porttest

import (
	"bytes"
	"encoding/binary"

	"uvs/forwarder/frame"
)

// Blank zeroes what differs from run to run: identifications the director chose, flow
// labels, GUE's source port, and the checksums over them, which it verifies first: a
// wrong one stays visible.
func Blank(b []byte) []byte {
	b = bytes.Clone(b)
	ip := b[frame.EthernetLen:]
	l4, src, dst := ip[20:], ip[12:16], ip[16:20]
	later := false
	if ip[0]>>4 == 6 {
		ip[1], ip[2], ip[3] = ip[1]&0xf0, 0, 0
		l4, src, dst = ip[40:], ip[8:24], ip[24:40]
		if ip[6] == 60 && ip[40] == 44 { // after 8 bytes of options
			clear(ip[52:56])
			return b
		}
		if ip[6] == 44 {
			later = ip[42]|ip[43] != 0 // some fragment, its checksum is of the whole
			clear(ip[44:48])
			l4 = ip[48:]
			if ip[40] != frame.ProtoUDP || ip[42] != 0 || ip[43]&^1 != 0 {
				return b
			}
		} else if ip[6] != frame.ProtoUDP {
			return b
		}
	} else {
		if ip[8] == 64 || bytes.Equal(src, []byte{10, 1, 255, 254}) { // made here, or a tunnel's
			blankID(ip)
		}
		later = ip[6]&0x20 != 0
		if ip[9] != frame.ProtoUDP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return b
		}
	}
	blankGUE(l4, src, dst, later)
	return b
}

func blankID(ip []byte) {
	if frame.Checksum(ip[:20]) != 0 {
		return
	}
	clear(ip[10:12])
	if binary.BigEndian.Uint16(ip[4:]) != 0 {
		ip[4], ip[5] = 0xff, 0xff
	}
}

func blankGUE(udp, src, dst []byte, cut bool) {
	if binary.BigEndian.Uint16(udp[2:]) != 6080 {
		return
	}
	sum := binary.BigEndian.Uint16(udp[6:])
	if sum != 0 && !cut && frame.Fold(frame.Sum(udp, frame.PseudoSum(src, dst, frame.ProtoUDP, len(udp)))) != 0xffff {
		return
	}
	if port := binary.BigEndian.Uint16(udp); port < 32768 || port > 60999 {
		return
	}
	clear(udp[:2])
	if sum != 0 {
		udp[6], udp[7] = 0xff, 0xff
	}
}
