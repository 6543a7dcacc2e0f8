package decap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// outer is a received packet without its outer IP header (and, for GUE,
// without the UDP header).
type outer struct {
	payload []byte
	tos     byte // of the outer header; its ECN field counts
	src     netip.Addr
}

// source is a socket on which packets of one kind of tunnel arrive.
type source struct {
	name   string
	conn   net.PacketConn
	raw    syscall.RawConn
	unwrap func([]byte) ([]byte, error)
	strip  bool // reads begin with the outer IPv4 header (raw(7))
	buf    []byte
	oob    []byte
}

// receiveBuffer rides out stalls: bytes, charged with the kernel's overhead.
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
	s := &source{name: network, conn: c, unwrap: unwrap, strip: network[:3] == "ip4",
		buf: make([]byte, 1<<16), oob: make([]byte, 64)}
	if s.raw, err = c.(syscall.Conn).SyscallConn(); err != nil {
		c.Close()
		return nil, fmt.Errorf("decap: %w", err)
	}
	_ = s.raw.Control(func(fd uintptr) {
		// Beyond rmem_max where privilege allows.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	})
	return s, nil
}

// read waits for the next packet; it is valid until the next read.
func (s *source) read() (outer, error) {
	var n, oobn int
	var from unix.Sockaddr
	var rerr error
	err := s.raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, rerr = unix.Recvmsg(int(fd), s.buf, s.oob, 0)
		return !errors.Is(rerr, unix.EAGAIN) && !errors.Is(rerr, unix.EINTR)
	})
	if err == nil {
		err = rerr
	}
	if err != nil {
		return outer{}, err
	}
	p := outer{payload: s.buf[:n], tos: trafficClass(s.oob[:oobn])}
	switch sa := from.(type) {
	case *unix.SockaddrInet4:
		p.src = netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		p.src = netip.AddrFrom16(sa.Addr).Unmap()
	}
	if s.strip {
		p.payload = stripIPv4(p.payload)
	}
	return p, nil
}

// stripIPv4 takes the outer header off a read of a raw IPv4 socket.
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
