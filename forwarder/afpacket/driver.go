package afpacket

import (
	"log/slog"
	"net"

	"golang.org/x/net/bpf"

	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/internal/fdstore"
)

// Driver opens rings, which all interfaces share. It is a port.Joiner.
type Driver struct {
	Profile Profile
	GRO     *GRO           // nil: interfaces stay as they are
	Store   *fdstore.Store // keeps the rings beyond the life of the process; nil: nothing does
	Log     *slog.Logger   // nil logs nothing
}

// OwnPorts returns false: no interface needs a ring of its own.
func (Driver) OwnPorts(neigh.Link) bool { return false }

// Open opens queues rings for all interfaces.
func (d Driver) Open(_ neigh.Link, queues int, filter []bpf.RawInstruction) ([]port.Port, error) {
	group, err := OpenGroup(Config{MTU: largestMTU(), Profile: d.Profile, Filter: filter, Store: d.Store, Logger: d.Log}, queues)
	if err != nil {
		return nil, err
	}
	ports := make([]port.Port, len(group))
	for i, p := range group {
		ports[i] = p
	}
	return ports, nil
}

// largestMTU returns the largest MTU of the present interfaces, 0 if it is not known.
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

// Sender opens a port that sends on all interfaces. What it sends on the loopback
// interface does not always reach the host's sockets: see package host.
func (d Driver) Sender(neigh.Link) (port.Port, error) {
	p, err := Sender(Config{Logger: d.Log})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Join turns on what lets an interface hand over fewer, larger frames.
func (d Driver) Join(l neigh.Link) {
	if d.GRO != nil && !l.Loopback {
		d.GRO.Enable(l.Index)
	}
}
