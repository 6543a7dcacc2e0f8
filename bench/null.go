package bench

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/socket"
)

// NullConfig describes a null forwarder.
type NullConfig struct {
	In, Out string           // interfaces
	Dst     net.HardwareAddr // of everything that leaves
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
	if g, err := guard.New(slog.New(slog.DiscardHandler)); err == nil {
		err = g.Set(guard.Rules{Links: []string{c.In, c.Out}, Virtual: []guard.Tuple{{Proto: frame.ProtoUDP, Addr: c.VIP}}})
		if err != nil {
			return err
		}
	}
	rx, tx, err := c.open(in, out)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "ready")
	return null(rx, tx, c.Dst, out.HardwareAddr)
}

// open opens the ports that a director would have.
func (c *NullConfig) open(in, out *net.Interface) (rx, tx forwarder.Port, err error) {
	if c.IO == "socket" {
		if rx, err = socket.Open(in, nil); err == nil {
			tx, err = socket.Open(out, nothing)
		}
		return rx, tx, err
	}
	if rx, err = afpacket.Open(afpacket.Config{Interface: in, Profile: c.Profile}); err == nil {
		tx, err = afpacket.Sender(afpacket.Config{Interface: out})
	}
	return rx, tx, err
}

// nothing is a filter that accepts no frame.
var nothing = []bpf.RawInstruction{{Op: unix.BPF_RET}}

func null(rx, tx forwarder.Port, dst, src []byte) error {
	fs := make([]frame.Frame, sendBatch)
	for {
		n, err := rx.Recv(fs)
		if err != nil {
			return err
		}
		for i := range fs[:n] {
			fs[i].SetMACs(dst, src)
		}
		if _, err := tx.Send(fs[:n]); err != nil {
			return err
		}
	}
}
