package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/lab"
)

// Frame is a frame that a node sent or received.
type Frame struct {
	Link   *Link
	Time   time.Time
	Out    bool   // the node sent it
	Kind   uint8  // PACKET_HOST, PACKET_BROADCAST, … (packet(7)), at who received it
	Bytes  []byte // from the Ethernet header on
	Length int    // of the whole frame, of which Bytes may be the beginning
}

// tap reads the frames of one direction of a link.
type tap struct {
	link   *Link
	out    bool
	far    *Link // what link sends is what far receives; nil if that is not captured or has a tap of its own
	socket *os.File
	fd     int
	oob    []byte

	newest time.Time // of the last frame that was read
	full   bool      // there may be more to read
	read   uint64
	missed uint64
}

// openAll opens both directions of links. Where a cable joins two of them, one tap is for both
// ends: two would tell different times of the same frame.
func openAll(l *lab.Lab, links []Link) (taps []*tap, err error) {
	joined := map[string]bool{} // links whose frames the tap at the other end receives
	for i := range links {
		received, sent, far, err := l.Taps(links[i].Node, links[i].Interface)
		if err != nil {
			closeTaps(taps)
			return nil, err
		}
		out := newTap(&links[i], sent)
		out.out = true
		if k := slices.IndexFunc(links, func(o Link) bool { return o.String() == far }); k >= 0 {
			out.far = &links[k]
			joined[far] = true
		}
		taps = append(taps, newTap(&links[i], received), out)
	}
	return slices.DeleteFunc(taps, func(t *tap) bool {
		spare := !t.out && joined[t.link.String()]
		if spare {
			t.socket.Close()
		}
		return spare
	}), nil
}

func newTap(l *Link, socket *os.File) *tap {
	return &tap{link: l, socket: socket, fd: int(socket.Fd()), oob: make([]byte, 256)}
}

func closeTaps(taps []*tap) {
	for _, t := range taps {
		t.socket.Close()
	}
}

// atOnce is how many bytes are read of one socket before the others get their turn.
const atOnce = 4 << 20

// drain reads what the socket holds, and calls f with each frame. room is memory for one.
func (t *tap) drain(room []byte, f func(Frame)) error {
	t.full = false
	for got := 0; got < atOnce; {
		n, oobn, _, from, err := unix.Recvmsg(t.fd, room, t.oob, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENETDOWN): // until it is up again
			continue
		case errors.Is(err, unix.EINVAL): // a frame whose offload the kernel cannot describe
			t.missed++
			continue
		case err != nil:
			return fmt.Errorf("capture %s: %w", t.link, os.NewSyscallError("recvmsg", err))
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || n < frame.OffloadLen {
			continue
		}
		t.read++
		got += min(n, len(room))
		fr := t.frame(room[:min(n, len(room))], n, t.oob[:oobn])
		fr.Out, fr.Kind = t.out, ll.Pkttype
		t.newest = fr.Time
		f(fr)
		if t.far != nil {
			fr.Link, fr.Out = t.far, false
			f(fr)
		}
	}
	t.full = true
	return nil
}

// frame copies a frame from memory that begins with what its sender left to the hardware.
// A checksum that is one of these things is completed, so that the frame is what a wire
// would carry.
func (t *tap) frame(b []byte, length int, oob []byte) Frame {
	var o frame.Offload
	o.Decode(b)
	fr := Frame{Link: t.link, Length: length - frame.OffloadLen}
	bytes := append([]byte(nil), b[frame.OffloadLen:]...)
	if o.Partial() && !o.Super() && fr.Length == len(bytes) {
		var whole frame.Frame
		whole.Reset(bytes, 0, len(bytes), len(bytes))
		whole.Offload = o
		whole.CompleteChecksum()
	}
	tag, tagged := uint32(0), false
	fr.Time, tag, tagged = control(oob)
	if tagged && len(bytes) >= 12 {
		bytes = append(bytes[:12:12], binary.BigEndian.AppendUint32(nil, tag)...)
		bytes = append(bytes, b[frame.OffloadLen+12:]...)
		fr.Length += 4
	}
	fr.Bytes = bytes
	return fr
}

// control reads the time of a frame and the VLAN tag that the kernel took out of it.
func control(oob []byte) (at time.Time, tag uint32, tagged bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now(), 0, false
	}
	at = time.Now()
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16:
			at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20:
			// struct tpacket_auxdata: status, two lengths, two offsets, tag, its type
			tagged = binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0
			tag = uint32(binary.NativeEndian.Uint16(m.Data[18:]))<<16 | uint32(binary.NativeEndian.Uint16(m.Data[16:]))
		}
	}
	return at, tag, tagged
}

// count asks the kernel how many frames the socket had no room for.
func (t *tap) count() {
	if s, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		t.missed += uint64(s.Drops)
	}
}
