package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"uvs/internal/fdstore"
	"uvs/internal/peer"
)

// ErrInUse is the error of Listen if a director answers on the socket already.
var ErrInUse = errors.New("a director answers there already")

// ErrTaken is the error of Listen if an untrusted user has bound the name, and clients have
// no other way to find this director.
var ErrTaken = errors.New("the name of the control socket is taken")

// Listener is an open control socket.
type Listener struct {
	net.Listener
	// Missing is the abstract name that somebody else has bound. Clients find the
	// director under its second name meanwhile (peer.Second); Serve binds the name as
	// soon as it is free.
	Missing string
	// Holder has bound it.
	Holder peer.Identity

	mu   sync.Mutex
	left bool // by Leave
}

// keptListener is the name under which a control socket is kept.
const keptListener = "control"

// ListenKept is Listen, but goes on listening on a socket that the store has from an earlier
// process, and has it keep the socket: who connects while no process runs waits. A kept socket
// of another address is closed.
func ListenKept(address string, store *fdstore.Store) (*Listener, error) {
	if l := takeListener(address, store); l != nil {
		return l, nil
	}
	if err := store.Forget(keptListener); err != nil {
		return nil, err
	}
	l, err := Listen(address)
	if err != nil {
		return nil, err
	}
	return l, store.Keep(keptListener, l.Listener.(*net.UnixListener))
}

// takeListener returns the kept socket if its address is the one that is wanted and clients
// find it there. Its file stays unless Serve comes: a process that fails before may not be the
// one that clients look for.
func takeListener(address string, store *fdstore.Store) *Listener {
	f := store.Take(keptListener)
	if f == nil {
		return nil
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil
	}
	kept := &Listener{Listener: u}
	switch at := u.Addr().String(); {
	case at == address:
	case at == peer.Second(address):
		kept.Missing, kept.Holder = address, peer.Identity{UID: -1}
	default:
		l.Close()
		return nil
	}
	if path := u.Addr().String(); !strings.HasPrefix(path, "@") {
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
			l.Close()
			return nil
		}
	}
	return kept
}

// own makes the socket's file go with the listener.
func (l *Listener) own() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u, ok := l.Listener.(*net.UnixListener); ok && !l.left {
		u.SetUnlinkOnClose(true)
	}
}

// Leave closes the listener and leaves the socket to the next process, if a store keeps it.
func (l *Listener) Leave() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
	if u, ok := l.Listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l.Close()
}

// Listen opens the control socket. It replaces a path that a killed director left behind.
// The socket's file is open to all users, as an abstract socket is: peer credentials
// decide. Anybody may bind an abstract name: if an untrusted user has it, root listens
// under the second name. Closing the listener removes its files.
func Listen(address string) (*Listener, error) {
	return binder{peer.Trusted, peer.Second}.open(address)
}

// binder binds control sockets: whom it trusts, and the second name of an address.
type binder struct {
	trusted func(uid int) bool
	second  func(address string) string
}

func (d binder) open(address string) (*Listener, error) {
	if address == "" || address == "@" { // the kernel would choose a name that nobody knows
		return nil, fmt.Errorf("control: socket %q has no name", address)
	}
	if !strings.HasPrefix(address, "@") {
		return d.openPath(address)
	}
	l, holder, err := d.bind(address)
	if errors.Is(err, ErrTaken) {
		return d.openSecond(address, holder)
	}
	if err != nil {
		return nil, err
	}
	// A director that found the name in use may answer under the second one.
	if second := d.second(address); second != "" {
		if _, err := os.Lstat(second); err == nil && !listenerEnded(second) {
			l.Close()
			return nil, fmt.Errorf("control: %s: %w", second, ErrInUse)
		}
	}
	return &Listener{Listener: l}, nil
}

// openSecond listens under the second name of an abstract one that somebody else has bound.
func (d binder) openSecond(address string, holder peer.Identity) (*Listener, error) {
	taken := fmt.Errorf("control: %s: %w by %s: end that, or choose another with --socket", address, ErrTaken, holder)
	path := d.second(address)
	if path == "" {
		return nil, taken
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("%w (the second name cannot be made: %w)", taken, err)
	}
	l, err := d.openPath(path)
	if errors.Is(err, ErrInUse) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", taken, err)
	}
	l.Missing, l.Holder = address, holder
	return l, nil
}

func (d binder) openPath(path string) (*Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, _, err := d.bind(path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("control: %w", err)
	}
	return &Listener{Listener: l}, nil
}

// bind listens on the address. The kernel needs a moment to end a killed director, whose
// socket accepts connections until then: the address counts as in use if somebody answers,
// or neither answers nor ends.
func (d binder) bind(address string) (net.Listener, peer.Identity, error) {
	for {
		l, err := net.Listen("unix", address)
		if err == nil {
			return l, peer.Identity{}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, peer.Identity{}, fmt.Errorf("control: %w", err)
		}
		holder, err := holderOf(address)
		if err == nil && !d.trusted(holder.UID) || errors.Is(err, syscall.EAGAIN) {
			return nil, holder, fmt.Errorf("control: %s: %w", address, ErrTaken)
		}
		if !listenerEnded(address) {
			return nil, holder, fmt.Errorf("control: %s: %w (%s)", address, ErrInUse, holder)
		}
	}
}

// holderOf returns who listens on a socket. It fails with EAGAIN if the holder accepts no
// connections, so that nothing is known about it.
func holderOf(address string) (peer.Identity, error) {
	c, err := peer.Dial(context.Background(), address)
	if err != nil {
		return peer.Identity{UID: -1}, err
	}
	defer c.Close()
	return peer.Of(c)
}

// answerTimeout is how long the holder of a socket may take to answer or to end.
const answerTimeout = 2 * time.Second

// listenerEnded reports whether the holder of a socket has ended.
func listenerEnded(address string) bool {
	c, err := peer.Dial(context.Background(), address)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(answerTimeout))
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	n, err := c.Read(make([]byte, 1))
	return n == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
}

// removeStale removes a socket on which nobody listens.
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
	if !listenerEnded(path) {
		return fmt.Errorf("control: %s: %w", path, ErrInUse)
	}
	return os.Remove(path)
}
