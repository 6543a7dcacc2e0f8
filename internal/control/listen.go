package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"uvs/internal/peer"
)

// ErrInUse is returned by Listen if a director answers on the socket already.
var ErrInUse = errors.New("a director answers there already")

// Listen opens the control socket. A path that a director left behind when it
// was killed is taken over. The socket's file is open to all users, as the
// abstract one is: peer credentials decide. Closing the listener removes it.
func Listen(address string) (net.Listener, error) {
	if address == "" || address == "@" { // the kernel would choose a name that nobody knows
		return nil, fmt.Errorf("control: socket %q has no name", address)
	}
	if !strings.HasPrefix(address, "@") {
		if err := removeStale(address); err != nil {
			return nil, err
		}
	}
	l, err := listen(address)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(address, "@") {
		return l, nil
	}
	if err := os.Chmod(address, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("control: %w", err)
	}
	return l, nil
}

// listen takes the address. The kernel needs a moment to end a director that
// was killed, and until then its socket takes connections: the address counts
// as in use if somebody answers, or keeps silent but does not go.
func listen(address string) (net.Listener, error) {
	for {
		l, err := net.Listen("unix", address)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("control: %w", err)
		}
		if !goes(address) {
			return nil, fmt.Errorf("control: %s: %w", address, ErrInUse)
		}
	}
}

// patience is how long whoever holds the socket may take to answer or to go.
const patience = 2 * time.Second

// goes reports whether the one who listens on the socket ended meanwhile.
func goes(address string) bool {
	c, err := peer.Dial(context.Background(), address)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	n, err := c.Read(make([]byte, 1))
	return n == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
}

// removeStale removes a socket nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control: %s is not a socket", path)
	}
	if !goes(path) {
		return fmt.Errorf("control: %s: %w", path, ErrInUse)
	}
	return os.Remove(path)
}
