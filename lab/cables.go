package lab

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"uvs/lab/wire"
)

// Taps returns packet sockets (packet(7)) that get copies of the frames of a node's
// interface: of those that it receives, and of those that it sends. The latter are taken
// where they arrive, at the other end of the cable, because a director sends past the taps of
// its own interface (PACKET_QDISC_BYPASS). Each frame comes behind a header that says what its
// sender left to the hardware (PACKET_VNET_HDR), with its time (SO_TIMESTAMPNS) and the tag
// that the kernel took out of it (PACKET_AUXDATA). far is the other end of the cable,
// NODE:ethN, if that is an interface of a node: what one sends is what the other receives. The
// caller closes the sockets, at the latest when the lab is gone; see [Lab.Lifeline].
func (l *Lab) Taps(node, iface string) (received, sent *os.File, far string, err error) {
	a, files, err := call(l.socket, request{Op: opTap, Node: node, Name: iface})
	if err == nil && len(files) != 2 {
		err = errors.New("lab: no descriptors came")
	}
	if err != nil {
		closeAll(files)
		return nil, nil, "", err
	}
	return files[0], files[1], a.Text, nil
}

// tap passes the sockets of [Lab.Taps].
func (s *supervisor) tap(c *net.UnixConn, h *host, iface string) error {
	at, err := s.Topology.link(h.Name + ":" + iface)
	if err != nil {
		return err
	}
	var near, far *os.File
	err = h.try(func() (err error) {
		near, err = openTap(iface)
		return err
	})
	if err != nil {
		return fmt.Errorf("lab: %s: capture %s: %w", h.Name, iface, err)
	}
	defer near.Close()
	other, name := s.farEnd(at)
	open := func() (err error) {
		far, err = openTap(name)
		return err
	}
	text := ""
	if other != nil {
		text = other.Name + ":" + name
		err = other.try(open)
	} else {
		err = open()
	}
	if err != nil {
		return fmt.Errorf("lab: %s: capture the other end of %s: %w", h.Name, iface, err)
	}
	defer far.Close()
	return reply(c, answer{Started: true, Text: text}, near, far)
}

// farEnd returns where the other end of an interface's cable is, the host and its name there.
// There is no host for the port of a bridge, which is in the supervisor's own namespace.
func (s *supervisor) farEnd(l leg) (*host, string) {
	network := s.Topology.Nodes[l.node].Interfaces[l.iface].Network
	if !s.Topology.direct(network) {
		return nil, s.Topology.portName(l)
	}
	legs := s.Topology.legs(network)
	far := legs[0]
	if far == l {
		far = legs[1]
	}
	return s.hosts[far.node], ethName(far.iface)
}

// tapBuffer is how much a tap holds while nobody reads it, in bytes.
const tapBuffer = 16 << 20

// openTap opens a packet socket for what an interface of the calling thread's network
// namespace receives.
func openTap(iface string) (*os.File, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	// With protocol 0 it receives nothing before it is bound to the interface.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "tap")
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, tapBuffer) // a plain user: as much as anybody may have
	}
	for _, o := range []struct{ level, option, value int }{
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			f.Close()
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: wire.NetworkOrder(unix.ETH_P_ALL), Ifindex: link.Index}); err != nil {
		f.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return f, nil
}
