package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Socket returns a socket of a node, made by socket(2) with these arguments.
// It works in the node's network wherever it is used; the caller closes it.
func (l *Lab) Socket(node string, domain, typ, protocol int) (*os.File, error) {
	_, files, err := call(l.socket, request{Op: opSocket, Node: node, Socket: [3]int{domain, typ, protocol}})
	if err != nil {
		closeAll(files)
		return nil, err
	}
	if len(files) != 1 {
		closeAll(files)
		return nil, errors.New("lab: no descriptor came")
	}
	return files[0], nil
}

// Dial connects from a node, as [net.Dialer] does from the host: network is
// "tcp" or "udp", address an IP address and port. The connection is an
// ordinary one of the calling process; only its packets are the node's.
func (l *Lab) Dial(ctx context.Context, node, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("lab: dial: %w", err)
	}
	typ := unix.SOCK_STREAM
	if network == "udp" {
		typ = unix.SOCK_DGRAM
	}
	domain, sa := sockaddr(to)
	f, err := l.Socket(node, domain, typ|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := connect(ctx, f, sa); err != nil {
		return nil, fmt.Errorf("lab: dial %s from %s: %w", address, node, err)
	}
	return net.FileConn(f)
}

// DialContext returns a function that dials from a node, for net/http and others.
func (l *Lab) DialContext(node string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return l.Dial(ctx, node, network, address)
	}
}

func sockaddr(a netip.AddrPort) (int, unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connect starts a connection on a non-blocking socket and waits for it
// without holding a thread (connect(2), EINPROGRESS).
func connect(ctx context.Context, f *os.File, sa unix.Sockaddr) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	started := false
	stop := context.AfterFunc(ctx, func() { _ = f.SetDeadline(past) })
	defer stop()
	err = raw.Write(func(fd uintptr) bool {
		if !started {
			started = true
			result = unix.Connect(int(fd), sa)
			return !errors.Is(result, unix.EINPROGRESS)
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			result = err
		case code != 0:
			result = unix.Errno(code)
		default:
			_, result = unix.Getpeername(int(fd))
		}
		// A spurious wake-up: the handshake is not finished.
		return !errors.Is(result, unix.ENOTCONN)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	return result
}

// past is a deadline that ends a wait at once.
var past = time.Unix(1, 0)
