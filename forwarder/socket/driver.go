package socket

import (
	"fmt"
	"net"

	"golang.org/x/net/bpf"

	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// Driver opens a plain packet socket for each interface.
type Driver struct{}

// OwnPorts returns true: a socket serves one interface.
func (Driver) OwnPorts(neigh.Link) bool { return true }

// Open opens one port, however many queues are asked for.
func (Driver) Open(l neigh.Link, _ int, filter []bpf.RawInstruction) ([]port.Port, error) {
	p, err := open(l, filter)
	if err != nil {
		return nil, err
	}
	return []port.Port{p}, nil
}

// Sender opens a port that only sends.
func (Driver) Sender(l neigh.Link) (port.Port, error) { return open(l, port.RejectAll()) }

func open(l neigh.Link, filter []bpf.RawInstruction) (port.Port, error) {
	if l.Bare {
		return nil, fmt.Errorf("--io socket: frames of %s have no Ethernet header; --io ring can take them", l.Name)
	}
	p, err := Open(&net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC[:]}, filter)
	if err != nil {
		return nil, err
	}
	return p, nil
}
