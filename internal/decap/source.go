package decap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// outer is a received packet without its outer IP header (and, for GUE,
// without the UDP header).
type outer struct {
	buf     []byte // what it was read into, with room bytes before the packet
	payload []byte // a part of buf, with buf's capacity
	tos     byte   // of the outer header; its ECN field counts
	src     netip.Addr
}

// source is a socket on which packets of one kind of tunnel arrive.
type source struct {
	name   string
	conn   net.PacketConn
	unwrap func([]byte) ([]byte, error)
	strip  bool // reads begin with the outer IPv4 header (raw(7))

	batch interface {
		ReadBatch(ms []ipv4.Message, flags int) (int, error)
	} // recvmmsg(2)
	bufs    [][]byte
	msgs    []ipv4.Message
	outers  []outer
	packets [][]byte // for the host
}

// batchSize is the largest number of packets of one read. Buffers have room for the
// largest packet, and for others to be appended; memory that is not used is never touched.
const (
	batchSize  = 64
	bufferSize = room + 1<<16
)

// receiveBuffer is the size of socket buffers in bytes, with the kernel's overhead; it
// bridges stalls.
const receiveBuffer = 8 << 20

// listen opens a socket for every kind of tunnel. A host without IPv6 has no
// IPv6 ones.
func (d *decapsulator) listen() ([]*source, error) {
	var sources []*source
	for _, k := range []struct {
		network string
		unwrap  func([]byte) ([]byte, error)
	}{
		{"ip4:4", plain}, {"ip4:41", plain}, {"ip4:47", gre},
		{"ip6:4", plain}, {"ip6:41", plain}, {"ip6:47", gre},
	} {
		s, err := newSource(k.network, "", k.unwrap)
		if err != nil && k.network[:3] == "ip6" {
			continue
		}
		if err != nil {
			return sources, err
		}
		sources = append(sources, s)
	}
	if d.GUE == 0 {
		return sources, nil
	}
	s, err := newSource("udp", ":"+strconv.Itoa(d.GUE), gue)
	if err != nil {
		return sources, err
	}
	return append(sources, s), nil
}

func newSource(network, address string, unwrap func([]byte) ([]byte, error)) (*source, error) {
	c, err := net.ListenPacket(network, address)
	if errors.Is(err, unix.EPERM) {
		return nil, errors.New("decap: raw sockets need root or CAP_NET_RAW")
	}
	if err != nil {
		return nil, fmt.Errorf("decap: %w", err)
	}
	s := &source{name: network, conn: c, unwrap: unwrap, strip: network[:3] == "ip4", batch: ipv4.NewPacketConn(c)}
	for range batchSize {
		b := make([]byte, bufferSize)
		s.bufs = append(s.bufs, b)
		s.msgs = append(s.msgs, ipv4.Message{Buffers: [][]byte{b[room:]}, OOB: make([]byte, 64)})
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("decap: %w", err)
	}
	_ = raw.Control(func(fd uintptr) {
		// Beyond rmem_max where privilege allows.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	})
	return s, nil
}

// read waits for packets and returns all that have arrived; they are valid until the next
// read. One call for many packets is cheaper, and lets segments be merged.
func (s *source) read() ([]outer, error) {
	n, err := s.batch.ReadBatch(s.msgs, 0)
	if err != nil {
		return nil, err
	}
	s.outers = s.outers[:0]
	for i := range s.msgs[:n] {
		s.outers = append(s.outers, s.outer(s.bufs[i], &s.msgs[i]))
	}
	return s.outers, nil
}

func (s *source) outer(buf []byte, m *ipv4.Message) outer {
	p := outer{buf: buf, payload: m.Buffers[0][:m.N], tos: trafficClass(m.OOB[:m.NN])}
	switch a := m.Addr.(type) {
	case *net.IPAddr:
		p.src, _ = netip.AddrFromSlice(a.IP)
	case *net.UDPAddr:
		p.src, _ = netip.AddrFromSlice(a.IP)
	}
	p.src = p.src.Unmap()
	if s.strip {
		p.payload = stripIPv4(p.payload)
	}
	return p
}

// stripIPv4 removes the outer header from a packet of a raw IPv4 socket.
func stripIPv4(b []byte) []byte {
	if len(b) < 20 || len(b) < int(b[0]&0xf)*4 {
		return nil
	}
	return b[int(b[0]&0xf)*4:]
}

// trafficClass finds TOS or traffic class in control data: IP_TOS carries a
// byte (ip(7)), IPV6_TCLASS an int (ipv6(7)).
func trafficClass(oob []byte) byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS && len(m.Data) >= 1:
			return m.Data[0]
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_TCLASS && len(m.Data) >= 4:
			return byte(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}
