package main

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/host"
	"uvs/forwarder/neigh"
	"uvs/forwarder/socket"
	"uvs/forwarder/tap"
)

// ringDriver opens AF_PACKET rings, which all interfaces share.
type ringDriver struct {
	profile afpacket.Profile
	gro     *afpacket.GRO
	log     *slog.Logger
}

func (ringDriver) Alone(neigh.Link) bool { return false }

func (d ringDriver) Open(_ neigh.Link, queues int, filter []bpf.RawInstruction) ([]forwarder.Port, error) {
	group, err := afpacket.OpenGroup(afpacket.Config{MTU: largestMTU(), Profile: d.profile, Filter: filter, Logger: d.log}, queues)
	if err != nil {
		return nil, err
	}
	ports := make([]forwarder.Port, len(group))
	for i, p := range group {
		ports[i] = ringPort{p}
	}
	return ports, nil
}

// largestMTU returns that of the interfaces there are, 0 if it is not known.
func largestMTU() int {
	largest := 0
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 {
			largest = max(largest, i.MTU)
		}
	}
	return largest
}

// Join turns on what lets an interface hand over fewer, larger frames.
func (d ringDriver) Join(l neigh.Link) {
	if !l.Loopback {
		d.gro.Enable(l.Index)
	}
}

func (d ringDriver) Sender(l neigh.Link) (forwarder.Port, error) {
	if l.Loopback {
		return host.Open()
	}
	p, err := afpacket.Sender(afpacket.Config{Logger: d.log})
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

// socketDriver opens plain packet sockets, without rings or offload facts.
type socketDriver struct{}

func (socketDriver) Alone(neigh.Link) bool { return true }

func netInterface(l neigh.Link) *net.Interface {
	return &net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC[:]}
}

func (socketDriver) Open(l neigh.Link, _ int, filter []bpf.RawInstruction) ([]forwarder.Port, error) {
	p, err := openSocket(l, filter)
	if err != nil {
		return nil, err
	}
	return []forwarder.Port{p}, nil
}

func (socketDriver) Sender(l neigh.Link) (forwarder.Port, error) {
	if l.Loopback {
		return host.Open()
	}
	return openSocket(l, rejectAll)
}

func openSocket(l neigh.Link, filter []bpf.RawInstruction) (forwarder.Port, error) {
	if l.Bare {
		return nil, fmt.Errorf("--io socket: frames of %s have no Ethernet header; --io ring can take them", l.Name)
	}
	p, err := socket.Open(netInterface(l), filter)
	if err != nil {
		return nil, err
	}
	return socketPort{p}, nil
}

// rejectAll is a filter nothing passes.
var rejectAll = []bpf.RawInstruction{{Op: 0x06}} // ret #0

// socketPort names what a socket.Port counts.
type socketPort struct{ *socket.Port }

func (p socketPort) Counters() map[string]uint64 {
	s := p.Stats()
	return map[string]uint64{"received": s.Received, "refused": s.Refused, "ring-drops": s.Drops}
}

// tapDriver makes a TAP device and works on it besides the interfaces
// the host has: the host itself is then a client.
type tapDriver struct {
	ringDriver
	config tap.Config

	mu   sync.Mutex
	port *tap.Port
}

func (d *tapDriver) Alone(l neigh.Link) bool { return l.Name == d.config.Name }

func (d *tapDriver) Open(l neigh.Link, queues int, filter []bpf.RawInstruction) ([]forwarder.Port, error) {
	if l.Name != d.config.Name {
		return d.ringDriver.Open(l, queues, filter)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port == nil {
		p, err := tap.Open(d.config)
		if err != nil {
			return nil, err
		}
		d.port = p
	}
	return []forwarder.Port{tapPort{d.port, d}}, nil
}

func (d *tapDriver) Sender(l neigh.Link) (forwarder.Port, error) {
	if l.Name != d.config.Name {
		return d.ringDriver.Sender(l)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port == nil {
		return nil, fmt.Errorf("--io: device %s is closed", l.Name)
	}
	return lentPort{d.port}, nil
}

// tapPort is the device as its worker has it.
type tapPort struct {
	*tap.Port
	driver *tapDriver
}

func (p tapPort) Close() error {
	p.driver.mu.Lock()
	defer p.driver.mu.Unlock()
	p.driver.port = nil
	return p.Port.Close()
}

// lentPort is the device as the workers of other interfaces have it.
type lentPort struct{ *tap.Port }

func (lentPort) Close() error { return nil }

// newDriver returns the driver that --io and --profile name.
func newDriver(io, profile string, gro *afpacket.GRO, log *slog.Logger) (forwarder.Driver, error) {
	p, err := afpacket.ParseProfile(profile)
	if err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	kind, name, _ := strings.Cut(io, ":")
	switch {
	case io == "ring":
		return ringDriver{profile: p, gro: gro, log: log}, nil
	case io == "socket":
		return socketDriver{}, nil
	case kind == "tap" && len(name) >= unix.IFNAMSIZ: // the kernel would cut it, and nobody find the device
		return nil, fmt.Errorf("--io %q: an interface's name has %d bytes at most", io, unix.IFNAMSIZ-1)
	case kind == "tap" && name != "":
		d := &tapDriver{ringDriver: ringDriver{profile: p, gro: gro, log: log}, config: tap.Config{Name: name}}
		if d.port, err = tap.Open(d.config); err != nil {
			return nil, err
		}
		return d, nil
	}
	return nil, fmt.Errorf("--io %q: ring, socket or tap:NAME", io)
}

// hostLink returns the name of the device --io makes for the host, or "".
func hostLink(io string) string {
	if name, ok := strings.CutPrefix(io, "tap:"); ok {
		return name
	}
	return ""
}
