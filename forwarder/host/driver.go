package host

import (
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// Driver is a driver of real interfaces, with a Port to send on the loopback interface.
type Driver struct{ port.Driver }

// Sender opens a Port for the loopback interface.
func (d Driver) Sender(l neigh.Link) (port.Port, error) {
	if !l.Loopback {
		return d.Driver.Sender(l)
	}
	p, err := Open()
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Join calls Join of the driver of real interfaces if that is a port.Joiner.
func (d Driver) Join(l neigh.Link) { port.Join(d.Driver, l) }
