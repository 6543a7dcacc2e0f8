// Package peer knows the address of a director's control socket and which peers to trust.
// Both sides of the control API use it.
//
// An address that starts with "@" is an abstract name, of which each network namespace has
// its own (unix(7)); others are paths. Anybody may bind an abstract name first, and anybody
// may connect: whether a peer is trusted depends on its user, by the socket's credentials.
package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Trusted reports whether a peer with user ID uid may change the director, or may be
// trusted as a director: root, or this process's user, unless that is the overflow ID in a
// user namespace, where it may be any unmapped user (user_namespaces(7)).
func Trusted(uid int) bool {
	uids, _ := os.ReadFile("/proc/self/uid_map")
	return trusted(uid, os.Geteuid(), overflowUID(), allMapped(string(uids)))
}

// Own reports whether a peer with user ID uid is this process's user, with the same
// exception for the overflow ID as Trusted.
func Own(uid int) bool {
	uids, _ := os.ReadFile("/proc/self/uid_map")
	return uid == os.Geteuid() && trusted(uid, uid, overflowUID(), allMapped(string(uids)))
}

func trusted(uid, own, overflow int, allMapped bool) bool {
	return uid == 0 || uid == own && (own != overflow || allMapped)
}

// allMapped reports whether a uid_map maps every user ID to itself, as that of the initial
// user namespace does.
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

// Identity is the peer of a unix socket, by this process's user and process namespaces.
type Identity struct {
	UID int // -1: unknown
	PID int // 0 for a process of another namespace
}

// Of returns the peer of a unix socket: for an accepted connection the process that
// connected, for a dialled one the process that listens (SO_PEERCRED, unix(7)).
func Of(c net.Conn) (Identity, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return Identity{}, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		return Identity{}, err
	}
	if inner != nil {
		return Identity{}, os.NewSyscallError("getsockopt", inner)
	}
	return Identity{UID: int(cred.Uid), PID: int(cred.Pid)}, nil
}

// String returns the user and the process with its name, for messages.
func (i Identity) String() string {
	if i.UID < 0 {
		return "somebody who takes no connections"
	}
	if i.PID == 0 {
		return fmt.Sprintf("user %d, from another process namespace", i.UID)
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", i.PID))
	if err != nil {
		return fmt.Sprintf("user %d, process %d", i.UID, i.PID)
	}
	return fmt.Sprintf("user %d, process %d (%q)", i.UID, i.PID, strings.TrimSpace(string(name)))
}

// Trusted reports whether the peer is trusted, as the function Trusted.
func (i Identity) Trusted() bool { return Trusted(i.UID) }

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

// runDir is a directory in which only root can create files. Everybody may connect to the
// sockets in it.
const runDir = "/run/uvs"

// Second returns the path of root's director if somebody else has bound its abstract name
// in this network namespace; it is empty for an address that is a path. Only root can make
// the file. It is named after the namespace, because many of them can share a file system.
func Second(address string) string {
	name, abstract := strings.CutPrefix(address, "@")
	ns, err := os.Stat("/proc/thread-self/ns/net")
	if !abstract || err != nil {
		return ""
	}
	inode := ns.Sys().(*syscall.Stat_t).Ino
	return filepath.Join(runDir, fmt.Sprintf("%d@%s", inode, url.PathEscape(name)))
}

// Dial connects to the control socket without checking who listens. While the socket's
// queue is full, it tries again for a moment.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	for end := time.Now().Add(fullQueueTime); ; {
		c, err := d.DialContext(ctx, "unix", address)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, unix.EAGAIN) || ctx.Err() != nil || time.Now().After(end) {
			return nil, fmt.Errorf("connect to the director: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// fullQueueTime is how long Dial tries while the socket's queue is full.
const fullQueueTime = time.Second
