package control

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Trusted reports whether a peer with the user number uid may change the
// director, or is a director to be believed: root, or the own user unless that
// is the overflow number, behind which any unmapped user of a user namespace
// may hide (user_namespaces(7)).
func Trusted(uid int) bool { return trusted(uid, os.Geteuid(), overflowUID()) }

func trusted(uid, own, overflow int) bool {
	return uid == 0 || uid == own && own != overflow
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

// PeerUID returns the user number of the other end of a unix socket, as the
// own user namespace shows it (SO_PEERCRED, unix(7)).
func PeerUID(c net.Conn) (int, error) {
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

type peerKey struct{}

// withPeer notes in a connection's context whether the peer may write.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid, err := PeerUID(c)
	return context.WithValue(ctx, peerKey{}, err == nil && Trusted(uid))
}

func mayWrite(ctx context.Context) bool {
	may, _ := ctx.Value(peerKey{}).(bool)
	return may
}
