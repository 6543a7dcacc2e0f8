package main

import (
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/net/bpf"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/neigh"
)

// ringDriver opens AF_PACKET rings.
type ringDriver struct {
	profile afpacket.Profile
	log     *slog.Logger
}

func (d ringDriver) config(l neigh.Link, filter []bpf.RawInstruction) afpacket.Config {
	return afpacket.Config{
		Interface: &net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC[:]},
		Profile:   d.profile,
		Filter:    filter,
		Logger:    d.log,
	}
}

func (d ringDriver) Open(l neigh.Link, queues int, filter []bpf.RawInstruction) ([]forwarder.Port, error) {
	group, err := afpacket.OpenGroup(d.config(l, filter), queues)
	if err != nil {
		return nil, err
	}
	ports := make([]forwarder.Port, len(group))
	for i, p := range group {
		ports[i] = ringPort{p}
	}
	return ports, nil
}

func (d ringDriver) Sender(l neigh.Link) (forwarder.Port, error) {
	p, err := afpacket.Sender(d.config(l, nil))
	if err != nil {
		return nil, err
	}
	return ringPort{p}, nil
}

// ringPort names what an afpacket.Port counts.
type ringPort struct{ *afpacket.Port }

func (p ringPort) Counters() map[string]uint64 {
	s := p.Stats()
	return map[string]uint64{
		"received": s.Received, "ring-drops": s.RingDrops, "oversize": s.Oversize, "cut": s.Cut,
		"refused": s.Refused, "refused-too-big": s.TooBig,
		"refused-no-buffer": s.NoBuffer, "refused-link-down": s.LinkDown,
	}
}

// newDriver returns the driver that --io and --profile name.
func newDriver(io, profile string, log *slog.Logger) (forwarder.Driver, error) {
	p, err := afpacket.ParseProfile(profile)
	if err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	switch {
	case io == "ring":
		return ringDriver{profile: p, log: log}, nil
	}
	return nil, fmt.Errorf("--io %q: ring, socket or tap:NAME", io)
}
