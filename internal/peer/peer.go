// Package peer knows where the control socket of a director is and whom to
// believe at its other end. Both sides of the control API use it.
//
// An address that starts with "@" is a name in the abstract namespace of unix
// sockets, which each network namespace has for itself (unix(7)); others are
// paths. Anybody may bind an abstract name first, and anybody may connect: the
// user at the other end decides, by the credentials of the socket.
package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Trusted reports whether a peer with the user number uid may change the
// director, or is a director to be believed: root, or the own user unless that
// is the overflow number and this a user namespace, where any unmapped user may
// hide behind it (user_namespaces(7)).
func Trusted(uid int) bool {
	uids, _ := os.ReadFile("/proc/self/uid_map")
	return trusted(uid, os.Geteuid(), overflowUID(), allMapped(string(uids)))
}

func trusted(uid, own, overflow int, allMapped bool) bool {
	return uid == 0 || uid == own && (own != overflow || allMapped)
}

// allMapped reports whether a uid_map maps every user number to itself, as that
// of the initial user namespace does.
func allMapped(uidMap string) bool {
	return strings.Join(strings.Fields(uidMap), " ") == "0 0 4294967295"
}

func overflowUID() int {
	const usual = 65534
	text, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return usual
	}
	uid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return usual
	}
	return uid
}

// UID returns the user number of the other end of a unix socket, as the
// own user namespace shows it (SO_PEERCRED, unix(7)).
func UID(c net.Conn) (int, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		return 0, err
	}
	if inner != nil {
		return 0, os.NewSyscallError("getsockopt", inner)
	}
	return int(cred.Uid), nil
}

// DefaultSocket is the abstract socket "uvs", which each network namespace has
// for itself (unix(7)).
const DefaultSocket = "@uvs"

// Socket returns the address of the control socket: the environment's
// UVS_SOCKET or the default. An address that starts with "@" is abstract,
// others are paths.
func Socket() string {
	if s := os.Getenv("UVS_SOCKET"); s != "" {
		return s
	}
	return DefaultSocket
}

// Dial connects to the control socket without looking at who listens there.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", address)
	if err != nil {
		return nil, fmt.Errorf("connect to the director: %w", err)
	}
	return c, nil
}
