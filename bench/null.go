package bench

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"uvs/forwarder/afpacket"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
)

// NullConfig describes a null forwarder.
type NullConfig struct {
	In, Out string           // interfaces
	Dst     net.HardwareAddr // of everything that leaves
	VIP     netip.Addr       // kept from the host's stack, as a director does
	Profile afpacket.Profile
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
	rx, err := afpacket.Open(afpacket.Config{Interface: in, Profile: c.Profile})
	if err != nil {
		return err
	}
	tx, err := afpacket.Sender(afpacket.Config{Interface: out})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "ready")
	return null(rx, tx, c.Dst, out.HardwareAddr)
}

func null(rx, tx *afpacket.Port, dst, src []byte) error {
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
