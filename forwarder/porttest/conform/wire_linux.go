package conform

import (
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

// packetWire is a Wire by an interface of the kernel: an unadorned packet
// socket, one system call for each frame.
type packetWire struct {
	tb testing.TB
	fd int
}

// OpenWire returns the Wire by the interface of that name.
func OpenWire(tb testing.TB, name string) Wire {
	tb.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Close(fd) })
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	must(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	must(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20))
	must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}))
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}))
	return &packetWire{tb, fd}
}

func (w *packetWire) InjectFrames(frames ...porttest.Frame) {
	for _, f := range frames {
		b := make([]byte, frame.OffloadLen, frame.OffloadLen+len(f.Bytes))
		f.Offload.Encode(b)
		if _, err := unix.Write(w.fd, append(b, f.Bytes...)); err != nil {
			w.tb.Fatalf("put %d bytes on the wire: %v", len(f.Bytes), err)
		}
	}
}

func (w *packetWire) Wait(n int) []porttest.Frame {
	var all []porttest.Frame
	b := make([]byte, frame.OffloadLen+frame.MaxLen+4)
	for len(all) < n {
		got, err := unix.Read(w.fd, b)
		if err != nil {
			break
		}
		f := porttest.Frame{Bytes: slices.Clone(b[frame.OffloadLen:got])}
		f.Offload.Decode(b)
		all = append(all, f)
	}
	return all
}
