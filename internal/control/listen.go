package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"uvs/internal/peer"
)

// ErrInUse is returned by Listen if a director answers on the socket already.
var ErrInUse = errors.New("a director answers there already")

// Listen opens the control socket. A path that a director left behind when it
// was killed is taken over. The socket's file is open to all users, as the
// abstract one is: peer credentials decide. Closing the listener removes it.
func Listen(address string) (net.Listener, error) {
	if !strings.HasPrefix(address, "@") {
		if err := removeStale(address); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("control: %s: %w", address, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
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
	c, err := peer.Dial(context.Background(), path)
	if err == nil {
		c.Close()
		return fmt.Errorf("control: %s: %w", path, ErrInUse)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
