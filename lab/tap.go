package lab

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uvs/lab/wire"
)

// tap is a packet socket of a node: it gets a copy of each frame of the node's interfaces.
type tap struct {
	file *os.File
	node string
}

// sighted is a frame that a tap got.
type sighted struct {
	bytes  []byte // its beginning, from the Ethernet header on
	toNode bool   // it is addressed to this node, and not flooded past it or sent by it
}

const tapBytes = 256 // of a frame: headers are enough

func (l *Lab) tap(node string) (*tap, error) {
	f, err := l.Socket(node, unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, int(wire.NetworkOrder(unix.ETH_P_ALL)))
	if err != nil {
		return nil, err
	}
	return &tap{f, node}, nil
}

func (t *tap) close() { t.file.Close() }

// waiting returns the frames that have come so far.
func (t *tap) waiting() (all []sighted, err error) {
	for {
		s, err := t.next(past)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
}

// next returns the next frame. Once there is none it waits until the deadline.
func (t *tap) next(deadline time.Time) (s sighted, err error) {
	if err := t.file.SetReadDeadline(time.Time{}); err != nil {
		return s, fmt.Errorf("lab: %s: %w", t.node, err)
	}
	raw, err := t.file.SyscallConn()
	if err != nil {
		return s, fmt.Errorf("lab: %s: %w", t.node, err)
	}
	buf := make([]byte, tapBytes)
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, from, err := unix.Recvfrom(int(fd), buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			_ = t.file.SetReadDeadline(deadline)
			return false
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			s.toNode = ll.Pkttype == unix.PACKET_HOST
		}
		s.bytes, failed = buf[:max(n, 0)], err
		return true
	})
	return s, errors.Join(err, failed)
}

// send sends a frame by an interface.
func (t *tap) send(iface string, frame []byte) error {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("lab: %s: %w", t.node, err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var index *unix.Ifreq
		if index, failed = unix.NewIfreq(iface); failed != nil {
			return
		}
		if failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, index); failed != nil {
			return
		}
		failed = unix.Sendto(int(fd), frame, 0, &unix.SockaddrLinklayer{Ifindex: int(index.Uint32())})
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("lab: %s: send by %s: %w", t.node, iface, err)
	}
	return nil
}
