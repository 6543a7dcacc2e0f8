package mark

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"uvs/forwarder/config"
)

// parsePorts reads a list of ports and ranges. An empty list means any port.
func parsePorts(option, text string) ([]config.PortRange, error) {
	if text == "" {
		return []config.PortRange{{}}, nil
	}
	var all []config.PortRange
	for part := range strings.SplitSeq(text, ",") {
		var r config.PortRange
		if err := r.UnmarshalText([]byte(part)); err != nil {
			return nil, fmt.Errorf("%s %s: %w", option, text, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// combine returns r for each pair of a source and a destination range.
func combine(r config.MarkRule, sports, dports []config.PortRange) ([]config.MarkRule, error) {
	var all []config.MarkRule
	for _, r.SrcPorts = range sports {
		for _, r.DstPorts = range dports {
			if err := r.Validate(); err != nil {
				return nil, err
			}
			all = append(all, r.Normal())
		}
	}
	return all, nil
}

// maskBits returns the prefix length of a mask such as 255.255.255.0.
func maskBits(text string) (int, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return 0, fmt.Errorf("%q is no mask", text)
	}
	four := a.As4()
	mask := binary.BigEndian.Uint32(four[:])
	n := bits.LeadingZeros32(^mask)
	if mask<<n != 0 {
		return 0, fmt.Errorf("%q has a gap", text)
	}
	return n, nil
}
