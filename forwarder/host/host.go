// Package host is a port to the host itself: what is sent on it is delivered to
// the sockets of the network namespace the director runs in, for real servers
// and clients that are addresses of the host.
//
// Packets go out by raw sockets with their headers as they are (raw(7), IP_HDRINCL; RFC
// 3542 has no equivalent for IPv6, Linux does), so that the kernel routes them as
// packets of its own. It then delivers them over the loopback interface and does not
// check their source: frames put on that interface by a packet socket would be martians
// wherever rp_filter is strict, or where the source, a client on the director, is an
// address of the host too.
//
// They carry frame.OwnMark. A TCP super-frame is delivered whole, as one large segment,
// which the loopback interface has room for.
//
// A Port belongs to one goroutine. It receives nothing: what the host sends arrives on
// a packet socket on the loopback interface, redirected there by the guard.
package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

// Port delivers packets to the host.
type Port struct {
	file4, file6 *os.File // 6 is nil on a kernel without IPv6
	fd4, fd6     int
	to4          unix.SockaddrInet4
	to6          unix.SockaddrInet6
	closed       atomic.Bool

	ordinary frame.SoftwareOffload

	sent, refused atomic.Uint64
}

// Stats counts frames since the port was opened.
type Stats struct {
	Sent    uint64 // accepted by the kernel, a super-frame as one
	Refused uint64 // not accepted
}

// sendBuffer is the requested size in bytes; a packet is charged to it until its
// receiver has read it.
const sendBuffer = 4 << 20

// Open needs CAP_NET_RAW and, for the mark, CAP_NET_ADMIN in the network
// namespace.
func Open() (*Port, error) {
	p := &Port{fd6: -1}
	var err error
	if p.file4, p.fd4, err = open(unix.AF_INET); err != nil {
		return nil, err
	}
	if p.file6, p.fd6, err = open(unix.AF_INET6); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		_ = p.file4.Close()
		return nil, err
	}
	return p, nil
}

func open(family int) (*os.File, int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return nil, -1, fmt.Errorf("host: raw socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, frame.OwnMark); err != nil {
		_ = unix.Close(fd)
		return nil, -1, fmt.Errorf("host: set SO_MARK: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	return os.NewFile(uintptr(fd), "raw socket"), fd, nil
}

// Recv is not supported.
func (p *Port) Recv([]frame.Frame) (int, error) { return 0, net.ErrClosed }

// Send delivers the frames in order, without their Ethernet headers, and returns how
// many the kernel accepted. It skips those it does not accept. The frames' destinations
// are addresses of the host; a packet to another one would follow the host's routes.
// The only error is net.ErrClosed. It does not allocate, except once for the buffer in
// which segments are built.
func (p *Port) Send(fs []frame.Frame) (int, error) {
	sent := 0
	for i := range fs {
		if p.closed.Load() {
			port.Refuse(fs[i:])
			return sent, net.ErrClosed
		}
		if p.sendOne(&fs[i]) {
			sent++
		} else {
			fs[i].Refused = true
		}
	}
	p.sent.Add(uint64(sent))
	p.refused.Add(uint64(len(fs) - sent))
	return sent, nil
}

func (p *Port) sendOne(f *frame.Frame) bool {
	if f.Offload.Super() && f.Info.Proto == frame.ProtoTCP {
		f.Offload.GSOType, f.Offload.GSOSize = frame.GSONone, 0
	}
	b := p.ordinary.First(f)
	if b == nil {
		return false
	}
	for ; b != nil; b = p.ordinary.Next() {
		if p.write(b[frame.EthernetLen:]) != nil {
			return false
		}
	}
	return true
}

// write sends a packet to the destination in its header.
func (p *Port) write(b []byte) error {
	if len(b) < 20 {
		return unix.EINVAL
	}
	if b[0]>>4 == 4 {
		copy(p.to4.Addr[:], b[16:20])
		return unix.Sendto(p.fd4, b, 0, &p.to4)
	}
	if len(b) < 40 || p.fd6 < 0 {
		return unix.EINVAL
	}
	copy(p.to6.Addr[:], b[24:40])
	return unix.Sendto(p.fd6, b, 0, &p.to6)
}

// Counters returns the counters by the names `uvs stats` shows.
func (p *Port) Counters() map[string]uint64 {
	s := p.Stats()
	return map[string]uint64{"refused": s.Refused}
}

// Stats returns the counters.
func (p *Port) Stats() Stats { return Stats{Sent: p.sent.Load(), Refused: p.refused.Load()} }

// Close ends the port. Only the worker may call it, not while it sends.
func (p *Port) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	err := p.file4.Close()
	if p.file6 != nil {
		err = errors.Join(err, p.file6.Close())
	}
	return err
}
