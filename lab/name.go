package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"uvs/internal/peer"
)

// socketName returns the abstract name on which a lab of this user listens. Anybody can
// bind such a name first; the lab then listens on one that nobody can guess, which begins
// with this name and a slash, and is found in the kernel's list of sockets.
func socketName(lab string) string {
	return "@uvs-lab/" + strconv.Itoa(os.Geteuid()) + "/" + lab
}

// find returns where the lab of this user with that name listens, or where it
// would.
func find(name string) string {
	plain := socketName(name)
	if ours(plain) {
		return plain
	}
	all, _ := sockets()
	for _, socket := range all {
		if strings.HasPrefix(socket, plain+"/") && ours(socket) {
			return socket
		}
	}
	return plain
}

// ours reports whether this user listens there.
func ours(socket string) bool {
	c, err := dialLab(socket)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// claim reserves a lab's name by listening on its socket.
func claim(name, kind string) (*net.UnixListener, string, error) {
	if name != "" {
		if !nodeName.MatchString(name) {
			return nil, "", fmt.Errorf("lab: name %q: use up to 32 small letters, digits and hyphens", name)
		}
		l, err := listen(name)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, "", fmt.Errorf("lab: there is a lab %q already; take it down with: uvs lab down %s", name, name)
		}
		return l, name, err
	}
	for i := 1; ; i++ {
		name = kind
		if i > 1 {
			name = kind + "-" + strconv.Itoa(i)
		}
		l, err := listen(name)
		if !errors.Is(err, unix.EADDRINUSE) {
			return l, name, err
		}
	}
}

// listen takes the socket of a lab. It fails with EADDRINUSE if the lab is this
// user's own, and goes another way around a name that somebody else has.
func listen(name string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketName(name), Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) && !ours(find(name)) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: socketName(name) + "/" + rand.Text(), Net: "unix"})
	}
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return l, nil
}

// dialLab connects to a lab after making sure that it is this user's: anyone
// could listen under its name.
func dialLab(socket string) (*net.UnixConn, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("no lab %q is running; see: uvs lab ls", labOf(socket))
	}
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	who, err := peer.Of(c)
	if err == nil && !peer.Own(who.UID) {
		err = fmt.Errorf("no lab %q of yours is running; its name is held by %s", labOf(socket), who)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// labOf returns the name of the lab that a socket is for.
func labOf(socket string) string {
	parts := strings.Split(socket, "/")
	return parts[min(2, len(parts)-1)]
}
