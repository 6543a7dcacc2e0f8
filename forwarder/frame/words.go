package frame

import (
	"fmt"
	"strings"
)

// Words describes a parsed packet in a few words: its protocol, addresses and ports, and its
// flags if it is of TCP.
func (f *Frame) Words() string {
	switch {
	case f.Info.EtherType == EtherARP:
		return "arp"
	case !f.Is4() && !f.Is6():
		return fmt.Sprintf("ethertype %#04x", f.Info.EtherType)
	}
	text := f.Flow.String()
	if !f.Info.HasPorts {
		text = fmt.Sprintf("%s %s > %s", ProtoName(f.Flow.Proto()), f.Flow.Src(), f.Flow.Dst())
	}
	if f.Info.Proto == ProtoTCP {
		text += " " + FlagNames(f.Info.TCPFlags)
	}
	if f.Info.Fragment {
		text += " fragment"
	}
	return text
}

// FlagNames returns the names of flags of TCP, in the order in which they are shown.
func FlagNames(flags uint8) string {
	var names []string
	for _, n := range tcpFlags {
		if flags&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// tcpFlags are the flags of TCP that have names.
var tcpFlags = []struct {
	bit  uint8
	name string
}{{FlagSYN, "SYN"}, {FlagFIN, "FIN"}, {FlagRST, "RST"}, {FlagPSH, "PSH"}, {FlagACK, "ACK"}, {FlagURG, "URG"}}
