package afpacket

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fanout is a group of sockets that share an interface's traffic. The kernel
// chooses the number of the group when the first socket joins, so that no other
// program's group is met by accident. Once it has, others may join concurrently.
type fanout struct {
	id int // 0 until the first socket joined
}

// join puts the socket into the group; a nil group is none. The group has a
// tap of its own in the kernel, so own transmissions have to be ignored there:
// the socket's PACKET_IGNORE_OUTGOING has no effect in a group.
func (g *fanout) join(fd int) error {
	if g == nil {
		return nil
	}
	mode := unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	if g.id == 0 {
		mode |= unix.PACKET_FANOUT_FLAG_UNIQUEID
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, mode<<16|g.id); err != nil {
		return fmt.Errorf("join fan-out group %d: %w", g.id, err)
	}
	if g.id != 0 {
		return nil
	}
	v, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return fmt.Errorf("read fan-out group: %w", err)
	}
	g.id = v & 0xffff
	return nil
}
