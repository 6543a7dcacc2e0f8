// Package syncnet has the sockets of connection synchronization: those with which a
// master sends to a multicast group and those with which a backup receives, as IPVS opens
// them (ip_vs_sync.c, make_send_sock and make_receive_sock). Each belongs to one network
// interface, as it was when the socket was opened.
package syncnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a socket. One goroutine may read and another write; Close ends both.
type Conn interface {
	// Read reads one datagram, cut to the length of b, and says who sent it. At the
	// deadline of SetReadDeadline the error is os.ErrDeadlineExceeded.
	Read(b []byte) (n int, from netip.Addr, err error)
	SetReadDeadline(time.Time) error
	// Write sends one datagram to the group. It waits while the socket's buffer is full; at
	// the deadline of SetWriteDeadline the error is os.ErrDeadlineExceeded.
	Write(b []byte) (int, error)
	SetWriteDeadline(time.Time) error
	// Stale reports whether the interface is gone, or another one has its name, or, of a
	// socket that sends, it has another first address, or not that of the socket any more.
	Stale() bool
	Close() error
}

// Group says where datagrams go: to a multicast address by an interface.
type Group struct {
	Interface string
	Addr      netip.AddrPort
	TTL       uint8 // of what is sent
	Buffer    int   // of the socket, in bytes; 0: the kernel's default to send, enough for a burst to receive
}

// Net opens sockets.
type Net interface {
	Sender(Group) (Conn, error)
	Receiver(Group) (Conn, error)
}

// UDP is the Net of this network namespace.
type UDP struct{}

// burst is the buffer of a socket that receives, in bytes: some thousand datagrams.
const burst = 8 << 20

// Sender opens a socket that sends from the first address of the interface. What it sends
// is not delivered on this host, and may be fragmented.
func (UDP) Sender(g Group) (Conn, error) {
	link, err := net.InterfaceByName(g.Interface)
	if err != nil {
		return nil, fmt.Errorf("syncnet: %w", err)
	}
	from, bound := firstAddr(link)
	bound = bound && g.Addr.Addr().Is4()
	s, err := open(g, link, func(fd int) error {
		if err := g.sendOptions(fd, link.Index); err != nil {
			return err
		}
		if g.Buffer > 0 {
			setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, g.Buffer)
		}
		if bound {
			if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from}); err != nil {
				return fmt.Errorf("bind to the address of %s: %w", link.Name, err)
			}
		}
		return unix.Connect(fd, sockaddr(g.Addr, link.Index))
	})
	if err != nil {
		return nil, err
	}
	s.sends = true
	return s, nil
}

// Receiver opens a socket that receives what is sent to the group by the interface, from
// anybody. Several may receive the same.
func (UDP) Receiver(g Group) (Conn, error) {
	link, err := net.InterfaceByName(g.Interface)
	if err != nil {
		return nil, fmt.Errorf("syncnet: %w", err)
	}
	s, err := open(g, link, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if err := unix.BindToDevice(fd, link.Name); err != nil {
			return fmt.Errorf("bind to device %s: %w", link.Name, err)
		}
		size := g.Buffer
		if size == 0 {
			size = burst
		}
		setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, size)
		if err := unix.Bind(fd, sockaddr(g.Addr, link.Index)); err != nil {
			return fmt.Errorf("bind to %s: %w", g.Addr, err)
		}
		return g.join(fd, link.Index)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// setBuffer sets the size of a buffer beyond the host's limit, or, without the privilege,
// as far as that.
func setBuffer(fd, force, plain, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

func (g *Group) sendOptions(fd, link int) error {
	if g.Addr.Addr().Is4() {
		if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(link)}); err != nil {
			return err
		}
		return setInts(fd, unix.IPPROTO_IP, [][2]int{{unix.IP_MULTICAST_LOOP, 0}, {unix.IP_MULTICAST_TTL, int(g.TTL)},
			{unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT}})
	}
	return setInts(fd, unix.IPPROTO_IPV6, [][2]int{{unix.IPV6_MULTICAST_IF, link}, {unix.IPV6_MULTICAST_LOOP, 0},
		{unix.IPV6_MULTICAST_HOPS, int(g.TTL)}, {unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT}})
}

func setInts(fd, level int, options [][2]int) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, level, o[0], o[1]); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) join(fd, link int) error {
	if a := g.Addr.Addr(); a.Is6() {
		return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: a.As16(), Interface: uint32(link)})
	}
	return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: g.Addr.Addr().As4(), Ifindex: int32(link)})
}

func sockaddr(a netip.AddrPort, link int) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: uint32(link)}
}

// firstAddr returns the first IPv4 address of an interface.
func firstAddr(link *net.Interface) (a [4]byte, ok bool) {
	all, err := link.Addrs()
	if err != nil {
		return a, false
	}
	for _, x := range all {
		if n, isNet := x.(*net.IPNet); isNet && n.IP.To4() != nil {
			return [4]byte(n.IP.To4()), true
		}
	}
	return a, false
}

// open makes a socket and prepares it.
func open(g Group, link *net.Interface, prepare func(fd int) error) (*socket, error) {
	family := unix.AF_INET
	if g.Addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("syncnet: %w", err)
	}
	if err := prepare(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("syncnet: %s: %w", link.Name, err)
	}
	file := os.NewFile(uintptr(fd), "sync "+link.Name)
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("syncnet: %w", err)
	}
	return &socket{UDPConn: c.(*net.UDPConn), name: link.Name, index: link.Index}, nil
}

// socket is a Conn of UDP.
type socket struct {
	*net.UDPConn
	name  string
	index int
	sends bool
}

func (s *socket) Read(b []byte) (n int, from netip.Addr, err error) {
	n, at, err := s.ReadFromUDPAddrPort(b)
	return n, at.Addr().Unmap().WithZone(""), err
}

func (s *socket) Stale() bool {
	link, err := net.InterfaceByName(s.name)
	return err != nil || link.Index != s.index || s.sends && s.moved(link)
}

// moved reports whether an interface has not the address any more from which the socket
// sends, or by IPv4 another one is its first.
func (s *socket) moved(link *net.Interface) bool {
	from := s.LocalAddr().(*net.UDPAddr).IP
	if from.To4() != nil {
		first, ok := firstAddr(link)
		return ok && !from.Equal(first[:]) || !ok && !from.IsUnspecified()
	}
	all, err := link.Addrs()
	return err != nil || !slices.ContainsFunc(all, func(a net.Addr) bool {
		n, isNet := a.(*net.IPNet)
		return isNet && n.IP.Equal(from)
	})
}
