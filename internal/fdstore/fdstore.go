// Package fdstore keeps descriptors beyond the life of a process. A director that dies,
// however it dies, leaves its sockets and rings with the process that started it, and the
// next one gets them back: what arrives meanwhile waits in them.
//
// The protocol is that of systemd's file descriptor store (sd_notify(3),
// sd_pid_notify_with_fds(3), sd_listen_fds(3)). Package keeper speaks the other side of it
// where there is no systemd. A Handover passes the same descriptors from a running director
// to the one that replaces it, so that all three ways end in one Store.
package fdstore

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// firstInherited is the number of the first descriptor that is passed at the start
// (SD_LISTEN_FDS_START).
const firstInherited = 3

// maxName is the longest name in bytes (systemd: FDNAME_MAX).
const maxName = 255

// notifyTimeout limits the wait for a service manager whose queue is full.
const notifyTimeout = 5 * time.Second

// Store has the descriptors of this process that outlive it, by name. The descriptors in it
// are its own, and no poller watches them. A nil Store keeps nothing. It is safe for
// concurrent use.
type Store struct {
	mu      sync.Mutex
	kept    map[string]*item
	manager string   // NOTIFY_SOCKET; empty: nobody holds the descriptors
	gone    []string // names that a manager to come still holds
}

// item is a descriptor that is kept.
type item struct {
	fd   int
	used bool // taken or kept by this process
	held bool // the service manager holds it, too
}

// New returns an empty Store, whose descriptors live as long as the process.
func New() *Store { return &Store{kept: map[string]*item{}} }

// FromEnv returns a Store with the descriptors that were passed to this process, which holds
// those of this process with the service manager that the environment names. It removes the
// variables from the environment: programs that this one starts are not meant by them.
func FromEnv() (*Store, error) {
	s := New()
	s.manager = os.Getenv("NOTIFY_SOCKET")
	count, pid, names := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	if count == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return s, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1<<16 {
		return nil, fmt.Errorf("fdstore: LISTEN_FDS=%q is no number of descriptors", count)
	}
	s.inherit(n, strings.Split(names, ":"))
	return s, nil
}

// inherit takes over the first n passed descriptors. Of several with one name the last is
// kept.
func (s *Store) inherit(n int, names []string) {
	for i := range n {
		fd := firstInherited + i
		unix.CloseOnExec(fd)
		if i >= len(names) || names[i] == "" {
			_ = unix.Close(fd)
			continue
		}
		s.put(names[i], fd).held = true
	}
}

// put keeps a descriptor, which is the Store's from now on.
func (s *Store) put(name string, fd int) *item {
	if old := s.kept[name]; old != nil {
		_ = unix.Close(old.fd)
	}
	it := &item{fd: fd}
	s.kept[name] = it
	return it
}

// Supervised reports whether a service manager holds the descriptors, so that they outlive
// this process.
func (s *Store) Supervised() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.manager != ""
}

// Keep keeps a duplicate of the descriptor of f, which stays the caller's, under a name, in
// place of what had that name. The error says why the service manager does not hold it; this
// process has it nevertheless.
func (s *Store) Keep(name string, f syscall.Conn) error {
	if s == nil {
		return nil
	}
	if err := checkName(name); err != nil {
		return err
	}
	fd, err := dup(f)
	if err != nil {
		return fmt.Errorf("fdstore: keep %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.forget(name)
	it := s.put(name, fd)
	it.used = true
	if err = errors.Join(err, s.give(name, it)); err != nil {
		return fmt.Errorf("fdstore: keep %s: %w", name, err)
	}
	return nil
}

// give gives a descriptor to the service manager.
func (s *Store) give(name string, it *item) error {
	err := s.notify(addition(name), []int{it.fd})
	it.held = err == nil && s.manager != ""
	return err
}

// Attach makes a service manager the one that holds the descriptors, which are those that it
// was given by the process before, but for what has changed since.
func (s *Store) Attach(manager string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manager = manager
	var err error
	remove := func(reused bool) {
		for _, name := range s.gone {
			if (s.kept[name] != nil) == reused {
				err = errors.Join(err, s.notify(removal(name), nil))
			}
		}
	}
	remove(true) // a name stands for one descriptor
	for name, it := range s.kept {
		if !it.held {
			err = errors.Join(err, s.give(name, it))
		}
	}
	remove(false) // last: a kill before leaves the manager two guards rather than none
	s.gone = nil
	if err != nil {
		return fmt.Errorf("fdstore: %w", err)
	}
	return nil
}

// checkName refuses names that the environment cannot carry (LISTEN_FDNAMES).
func checkName(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r == ':' || r > '~' }
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("fdstore: %q cannot be the name of a descriptor", name)
	}
	return nil
}

// dup returns a duplicate of the descriptor of f.
func dup(f syscall.Conn) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	cerr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(cerr, err)
}

// The service manager's words for a descriptor. FDPOLL=0: it is not to drop a packet socket
// that reports an error, such as that its interface went down.
func addition(name string) string { return "FDSTORE=1\nFDNAME=" + name + "\nFDPOLL=0" }
func removal(name string) string  { return "FDSTOREREMOVE=1\nFDNAME=" + name }

// Take returns a duplicate of the descriptor kept under a name, which the caller closes, or
// nil if there is none.
func (s *Store) Take(name string) *os.File {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.kept[name]
	if it == nil {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(it.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	it.used = true
	return os.NewFile(uintptr(fd), name)
}

// Names returns the names that begin with a prefix, in order.
func (s *Store) Names(prefix string) []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.kept {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Forget closes what is kept under a name, here and with the service manager.
func (s *Store) Forget(name string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forget(name)
}

func (s *Store) forget(name string) error {
	it := s.kept[name]
	if it == nil {
		return nil
	}
	delete(s.kept, name)
	_ = unix.Close(it.fd)
	if it.held && s.manager == "" {
		s.gone = append(s.gone, name)
	}
	return s.notify(removal(name), nil)
}

// ForgetUnused closes the descriptors that this process was passed and has no use for, such
// as those of another build, and returns their names. It spares names that begin with a
// prefix, if that is not empty.
func (s *Store) ForgetUnused(spare string) []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, it := range s.kept {
		if !it.used && (spare == "" || !strings.HasPrefix(name, spare)) {
			names = append(names, name)
			_ = s.forget(name)
		}
	}
	slices.Sort(names)
	return names
}

// Notify tells the service manager, if there is one, lines such as READY=1 (sd_notify(3)).
func (s *Store) Notify(lines ...string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.notify(strings.Join(lines, "\n"), nil); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}

// notify sends a message with descriptors. The caller holds the lock.
func (s *Store) notify(text string, fds []int) error {
	if s.manager == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(notifyTimeout.Nanoseconds())
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(fd, []byte(text), rights, &unix.SockaddrUnix{Name: s.manager}, 0)
}

// Close closes the descriptors of this process. The service manager has its own.
func (s *Store) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.kept {
		_ = unix.Close(it.fd)
	}
	clear(s.kept)
}
