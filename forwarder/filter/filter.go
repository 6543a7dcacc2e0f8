package filter

import (
	"net/netip"

	"golang.org/x/net/bpf"
)

const DefaultLimit = 4096

type Tuple struct {
	Proto uint8
	Addr  netip.Addr
	Port  uint16
}

type Rules struct {
	Virtual, Servers []Tuple
	Local            []netip.Addr
	All              bool
}

func Build(r Rules, limit int) ([]bpf.RawInstruction, error) { return nil, nil }
