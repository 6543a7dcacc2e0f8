package bench

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"uvs/bench/load"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/port"
	"uvs/forwarder/socket"
)

// NullConfig describes a null forwarder.
type NullConfig struct {
	In, Out string           // interfaces
	Dst     net.HardwareAddr // of everything that leaves by Out
	Back    net.HardwareAddr // of everything that leaves by In, nil: nothing does
	VIP     netip.Addr       // kept from the host's stack, as a director does
	IO      string           // ring or socket
	Profile afpacket.Profile // of rings
}

// RunNull is the null forwarder: it takes frames from one interface, gives them
// other MAC addresses, and sends them by another. It does all a port does and
// nothing else: the floor under every director on that port. It uses the same
// batch as the director and keeps the stack away in the same way, and is
// measured as the director is. It runs until the process is killed.
func RunNull(c NullConfig) error {
	in, err := net.InterfaceByName(c.In)
	if err != nil {
		return fmt.Errorf("bench: null forwarder: %w", err)
	}
	out, err := net.InterfaceByName(c.Out)
	if err != nil {
		return fmt.Errorf("bench: null forwarder: %w", err)
	}
	g, err := c.guard()
	if err != nil {
		return err
	}
	defer g.Close() // its rules go with it
	there, err := c.open(in, out, c.Dst)
	if err != nil {
		return err
	}
	ways := []*direction{there}
	if c.Back != nil {
		back, err := c.open(out, in, c.Back)
		if err != nil {
			return err
		}
		ways = append(ways, back)
	}
	fmt.Fprintln(os.Stdout, "ready")
	done := make(chan error, len(ways))
	for _, w := range ways {
		go func() { done <- w.run() }()
	}
	return <-done
}

// guard keeps the host's stack away from what the null forwarder takes, where
// the kernel has nftables.
func (c *NullConfig) guard() (io.Closer, error) {
	g, err := guard.New(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return io.NopCloser(nil), nil
	}
	return g, g.Set(guard.Rules{
		Links:   []string{c.In, c.Out},
		Virtual: []guard.Tuple{{Proto: frame.ProtoUDP, Addr: c.VIP}},
		Servers: []guard.Tuple{{Proto: frame.ProtoUDP, Addr: c.VIP, Port: firstPort}},
	})
}

// direction is one direction of a null forwarder.
type direction struct {
	rx, tx   port.Port
	dst, src net.HardwareAddr
}

// open opens the ports that a director would have.
func (c *NullConfig) open(in, out *net.Interface, to net.HardwareAddr) (w *direction, err error) {
	w = &direction{dst: to, src: out.HardwareAddr}
	if c.IO == "socket" {
		if w.rx, err = socket.Open(in, nil); err == nil {
			w.tx, err = socket.Open(out, port.RejectAll())
		}
		return w, err
	}
	if w.rx, err = afpacket.Open(afpacket.Config{Interface: in, Profile: c.Profile}); err == nil {
		w.tx, err = afpacket.Sender(afpacket.Config{Interface: out})
	}
	return w, err
}

func (w *direction) run() error {
	fs := make([]frame.Frame, load.Batch)
	for {
		n, err := w.rx.Recv(fs)
		if err != nil {
			return err
		}
		for i := range fs[:n] {
			fs[i].SetMACs(w.dst, w.src)
		}
		if _, err := w.tx.Send(fs[:n]); err != nil {
			return err
		}
	}
}
