package recording

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// tap is our end of one of the director's Ethernet devices. The kernel processes a frame
// completely before the write returns (tun_get_user in drivers/net/tun.c), so everything that
// the director sends for it can be read at once from the same or another tap, and nothing
// follows later.
type tap struct {
	fd  int
	buf [65536]byte
}

// openTAP makes a device in the thread's network namespace. Closing its last descriptor
// removes it.
func openTAP(name string) (*tap, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("recording: open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("recording: make the device %s: %w", name, err)
	}
	return &tap{fd: fd}, nil
}

func (t *tap) close() { unix.Close(t.fd) }

// write delivers a frame to the director.
func (t *tap) write(b []byte) error {
	if _, err := unix.Write(t.fd, b); err != nil {
		return fmt.Errorf("recording: write a frame: %w", err)
	}
	return nil
}

// read returns the packets that the director has sent, except those that its host sends by
// itself: neighbour discovery and group membership.
func (t *tap) read() ([][]byte, error) {
	var all [][]byte
	for {
		n, err := unix.Read(t.fd, t.buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("recording: read a frame: %w", err)
		}
		if b := t.buf[:n]; !unsolicited(b) {
			all = append(all, bytes.Clone(b))
		}
	}
}

func unsolicited(b []byte) bool {
	const ethernet, hopByHop, icmp6, firstOfNeighbours, lastOfNeighbours = frame.EthernetLen, 0, 58, 133, 137
	switch {
	case len(b) > ethernet && b[ethernet]>>4 == 4:
		return false
	case len(b) <= ethernet+40 || b[ethernet]>>4 != 6:
		return true
	}
	next, icmpType := b[ethernet+6], b[ethernet+40]
	return next == hopByHop || next == icmp6 && icmpType >= firstOfNeighbours && icmpType <= lastOfNeighbours
}
