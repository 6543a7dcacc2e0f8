package tap

import (
	"fmt"
	"sync"

	"golang.org/x/net/bpf"

	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// Driver creates a TAP device for the director in addition to the host's interfaces:
// the host itself is then a client. Another driver opens the other interfaces.
type Driver struct {
	port.Driver
	config Config

	mu   sync.Mutex
	port *Port // nil while the device is closed
}

// NewDriver creates the device and returns its driver; others opens all other
// interfaces.
func NewDriver(c Config, others port.Driver) (*Driver, error) {
	p, err := Open(c)
	if err != nil {
		return nil, err
	}
	return &Driver{Driver: others, config: c, port: p}, nil
}

// OwnPorts reports whether an interface is the device, or needs ports of its own from the
// other driver.
func (d *Driver) OwnPorts(l neigh.Link) bool { return d.has(l) || d.Driver.OwnPorts(l) }

func (d *Driver) has(l neigh.Link) bool { return l.Name == d.config.Name }

// Open returns the device as one port, and creates it again if it was closed.
func (d *Driver) Open(l neigh.Link, queues int, filter []bpf.RawInstruction) ([]port.Port, error) {
	if !d.has(l) {
		return d.Driver.Open(l, queues, filter)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port == nil {
		p, err := Open(d.config)
		if err != nil {
			return nil, err
		}
		d.port = p
	}
	return []port.Port{ownedPort{d.port, d}}, nil
}

// Sender lends the open device.
func (d *Driver) Sender(l neigh.Link) (port.Port, error) {
	if !d.has(l) {
		return d.Driver.Sender(l)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port == nil {
		return nil, fmt.Errorf("--io: device %s is closed", l.Name)
	}
	return lentPort{d.port}, nil
}

// Join calls Join of the other driver if that is a port.Joiner.
func (d *Driver) Join(l neigh.Link) { port.Join(d.Driver, l) }

// ownedPort is the device as its worker has it.
type ownedPort struct {
	*Port
	driver *Driver
}

func (p ownedPort) Close() error {
	p.driver.mu.Lock()
	defer p.driver.mu.Unlock()
	p.driver.port = nil
	return p.Port.Close()
}

// lentPort is the device as the workers of other interfaces have it.
type lentPort struct{ *Port }

func (lentPort) Close() error { return nil }
