package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// end is one end of a wire: a packet socket on an interface.
type end struct {
	fd    int
	index int
	buf   []byte
	oob   []byte

	ordinary frame.SoftwareOffload
	tagged   []byte
}

// receiveBuffer is the size in bytes of a socket's receive queue, where the kernel grants
// it: what 1 Gbit/s brings in 30 ms.
const receiveBuffer = 4 << 20

// auxdataLen is the length of struct tpacket_auxdata in bytes (linux/if_packet.h).
const auxdataLen = 20

// tagLen is the length of a VLAN tag in bytes.
const tagLen = 4

// openEnd opens a socket that receives nothing yet on an interface of the calling thread's
// network namespace.
func openEnd(index int) (*end, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	e := &end{fd: fd, index: index, buf: make([]byte, frame.Headroom+frame.MaxLen), oob: make([]byte, 256)}
	if err := errors.Join(e.setUp(), e.bind(0)); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return e, nil
}

func (e *end) setUp() error {
	for _, o := range []struct {
		name        string
		level, code int
	}{
		{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR},
		{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA},
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING},
		{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS},
	} {
		if err := unix.SetsockoptInt(e.fd, o.level, o.code, 1); err != nil {
			return fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	if unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	return nil
}

// bind makes the socket receive frames of an EtherType, none if it is 0.
func (e *end) bind(etherType uint16) error {
	sa := &unix.SockaddrLinklayer{Ifindex: e.index, Protocol: NetworkOrder(etherType)}
	if err := unix.Bind(e.fd, sa); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// NetworkOrder returns v with its bytes in network order, as packet sockets want an EtherType
// (packet(7)).
func NetworkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// receive reads frames that have arrived, at most so many, and puts them into a line as
// they would be on a cable: with whole checksums, no longer than a segment, and with their
// VLAN tags.
func (e *end) receive(into *line, most int) (more bool) {
	for range most {
		n, oobn, _, _, err := unix.Recvmsg(e.fd, e.buf[frame.Headroom-frame.OffloadLen:], e.oob, 0)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN): // the latter once, when the cable is pulled
			continue
		case errors.Is(err, unix.EINVAL): // a frame whose offload the kernel cannot describe; it is gone
			into.refuse()
			continue
		case err != nil || n < frame.OffloadLen:
			return false
		}
		e.take(into, n-frame.OffloadLen, e.oob[:oobn])
	}
	return true
}

// take puts the frame of n bytes in the buffer into a line.
func (e *end) take(into *line, n int, oob []byte) {
	var f frame.Frame
	f.Reset(e.buf, frame.Headroom, frame.Headroom+n, n)
	f.Offload.Decode(e.buf[frame.Headroom-frame.OffloadLen:])
	at, tag := about(oob, time.Now())
	whole := f.Offload
	b := e.ordinary.First(&f)
	if b == nil { // segments in a tunnel: they stay one frame, which the kernel splits
		into.put(at, &whole, e.withTag(f.Bytes(), tag, &whole))
		return
	}
	for ; b != nil; b = e.ordinary.Next() {
		into.put(at, &frame.Offload{}, e.withTag(b, tag, nil))
	}
}

// vlanTag is the tag that the kernel has taken out of a frame: the EtherType and the tag
// control information (802.1Q), both 0 if there was none.
type vlanTag struct{ etherType, control uint16 }

// about reads when a frame arrived, in terms of now, and its tag.
func about(oob []byte, now time.Time) (at time.Time, tag vlanTag) {
	at = now
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return at, tag
		}
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= 16:
			at = now.Add(-age(data, now))
		case h.Level == unix.SOL_PACKET && h.Type == unix.PACKET_AUXDATA && len(data) >= auxdataLen:
			tag = tagOf(data)
		}
		oob = rest
	}
	return at, tag
}

// age returns how long ago a struct timespec was. The wall clock may have been set since:
// what is not plausible counts as now.
func age(timespec []byte, now time.Time) time.Duration {
	const plausible = time.Second
	sec, nsec := binary.NativeEndian.Uint64(timespec), binary.NativeEndian.Uint64(timespec[8:])
	if d := now.Sub(time.Unix(int64(sec), int64(nsec))); d > 0 && d < plausible {
		return d
	}
	return 0
}

// tagOf returns the tag that struct tpacket_auxdata tells of (packet(7)).
func tagOf(auxdata []byte) vlanTag {
	status := binary.NativeEndian.Uint32(auxdata)
	if status&unix.TP_STATUS_VLAN_VALID == 0 {
		return vlanTag{}
	}
	t := vlanTag{frame.EtherVLAN, binary.NativeEndian.Uint16(auxdata[16:])}
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		t.etherType = binary.NativeEndian.Uint16(auxdata[18:])
	}
	return t
}

// withTag returns the frame with its tag in it, in memory of e, and moves the facts about it,
// if there are any.
func (e *end) withTag(b []byte, tag vlanTag, facts *frame.Offload) []byte {
	const addresses = frame.EthernetLen - 2
	if tag.etherType == 0 || len(b) < addresses {
		return b
	}
	if facts != nil {
		facts.HeaderLen += tagLen
		facts.CsumStart += tagLen
	}
	e.tagged = append(e.tagged[:0], b[:addresses]...)
	e.tagged = binary.BigEndian.AppendUint16(e.tagged, tag.etherType)
	e.tagged = binary.BigEndian.AppendUint16(e.tagged, tag.control)
	e.tagged = append(e.tagged, b[addresses:]...)
	return e.tagged
}

// send sends a frame and reports whether the kernel took it.
func (e *end) send(p *parcel) bool {
	for {
		_, err := unix.Write(e.fd, p.b)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}

// overrun returns how many frames the kernel has lost since the last call.
func (e *end) overrun() uint64 {
	s, err := unix.GetsockoptTpacketStats(e.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(s.Drops)
}

func (e *end) close() { unix.Close(e.fd) }
