package frame

import "encoding/binary"

// Types of IPv6 hop-by-hop options (IANA, Destination Options and Hop-by-Hop
// Options).
const (
	hopPad1        = 0x00
	hopPadN        = 0x01
	hopRouterAlert = 0x05
	hopCALIPSO     = 0x07
	hopIOAM        = 0x31
	hopJumbo       = 0xc2
)

const (
	// maxHopPad is how much padding in a row is valid, in bytes (exthdrs.c,
	// ip6_parse_tlv).
	maxHopPad = 7
	// maxHopOptions is how many options may be there besides padding
	// (net.ipv6.max_hbh_opts_number).
	maxHopOptions = 8
)

// HopFault is what is wrong with the hop-by-hop options of an IPv6 packet.
type HopFault struct {
	Invalid bool
	Tell    bool  // the sender is to be told by an ICMPv6 parameter problem
	Code    uint8 // of that: 0, a field is invalid; 2, an option is unknown (RFC 4443 section 3.4)
	At      int   // offset in the packet of the byte to blame
}

// HopOptions validates the hop-by-hop options of an IPv6 packet as Linux does
// (exthdrs.c, ip6_parse_tlv and ipv6_hop_*). A packet without that header has no
// fault. Jumbograms are none that a frame could carry, and a CALIPSO label is
// invalid: no domain of interpretation is configured.
func (f *Frame) HopOptions() HopFault {
	ip := f.L3()
	if ip[6] != ProtoHopByHop {
		return HopFault{}
	}
	n, ok := ExtensionLen(ProtoHopByHop, ip[40:])
	if !ok {
		return HopFault{Invalid: true}
	}
	pad, count := 0, 0
	for at, end := 42, 40+n; at < end; {
		if ip[at] == hopPad1 {
			if pad++; pad > maxHopPad {
				return HopFault{Invalid: true}
			}
			at++
			continue
		}
		if end-at < 2 || end-at < int(ip[at+1])+2 {
			return HopFault{Invalid: true}
		}
		option := ip[at : at+2+int(ip[at+1])]
		if option[0] == hopPadN {
			if pad += len(option); pad > maxHopPad || !allZero(option[2:]) {
				return HopFault{Invalid: true}
			}
		} else {
			pad = 0
			if count++; count > maxHopOptions {
				return HopFault{Invalid: true}
			}
			if fault := checkHopOption(ip, option, at); fault.Invalid {
				return fault
			}
		}
		at += len(option)
	}
	return HopFault{}
}

// checkHopOption validates one option at an offset in the packet. What an unknown one
// asks for stands in its two highest bits (RFC 8200 section 4.2).
func checkHopOption(ip, option []byte, at int) HopFault {
	switch option[0] {
	case hopRouterAlert:
		return HopFault{Invalid: len(option) != 4}
	case hopIOAM:
		return HopFault{Invalid: len(option) < 4 || at%4 != 0}
	case hopCALIPSO:
		return HopFault{Invalid: true}
	case hopJumbo:
		return checkJumbo(ip, option, at)
	}
	switch option[0] >> 6 {
	case 0:
		return HopFault{}
	case 1:
		return HopFault{Invalid: true}
	}
	return HopFault{Invalid: true, Tell: true, Code: 2, At: at}
}

func checkJumbo(ip, option []byte, at int) HopFault {
	fault := HopFault{Invalid: true}
	switch {
	case len(option) != 6 || at%4 != 2:
	case binary.BigEndian.Uint32(option[2:]) <= 65535:
		fault.Tell, fault.At = true, at+2
	case binary.BigEndian.Uint16(ip[4:]) != 0:
		fault.Tell, fault.At = true, at
	}
	return fault
}

func allZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}
