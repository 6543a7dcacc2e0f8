package shim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/ipvsnl"
)

// namespace is a network namespace in which programs have sockets, and its director.
type namespace struct {
	file     *os.File // nil: the supervisor's own
	director Director
	calls    int // that are at work in it, under the supervisor's lock
}

// namespaceOf returns the network namespace of a thread. It stays open until the caller leaves it.
func (s *supervisor) namespaceOf(thread uint32) (*namespace, error) {
	path := fmt.Sprintf("/proc/%d/ns/net", thread)
	inode, err := inodeOf(path)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ns := s.namespaces[inode]; ns != nil {
		ns.calls++
		return ns, nil
	}
	ns := &namespace{calls: 1}
	if own, err := inodeOf("/proc/thread-self/ns/net"); err != nil || own != inode {
		if ns.file, err = os.Open(path); err != nil {
			return nil, err
		}
	}
	ns.director = s.dial(ns.in)
	s.namespaces[inode] = ns
	return ns, nil
}

func (s *supervisor) leave(ns *namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns.calls--
}

func inodeOf(path string) (uint64, error) {
	about, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return about.Sys().(*syscall.Stat_t).Ino, nil
}

// in runs f in the namespace. Another than the supervisor's is entered by a thread that ends
// with f.
func (ns *namespace) in(f func() error) error {
	if ns.file == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// pass has the kernel answer a message to another family, and returns the answers. It has
// answered when a send returns, but for the parts of a list, which follow as one reads. If it
// cannot be asked, or a list breaks off, the program gets the error: it would wait for ever.
func (ns *namespace) pass(m ipvsnl.Message) (answers [][]byte) {
	var fd int
	err := ns.in(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
		return err
	})
	if err != nil {
		return m.Refuse(errnoOf(err))
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return m.Refuse(errnoOf(err))
	}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN): // that was all
			return answers
		case err != nil:
			return append(answers, m.Refuse(errnoOf(err))...)
		}
		answers = append(answers, append([]byte(nil), buf[:n]...))
	}
}

// errnoOf returns the kernel's number of an error, EIO if it has none.
func errnoOf(err error) unix.Errno {
	var number unix.Errno
	if !errors.As(err, &number) {
		return unix.EIO
	}
	return number
}

// firstSweep is the number of sockets from which on those that programs have closed are
// looked for.
const firstSweep = 64

// sweep forgets the sockets that are closed, if there are many, and the namespaces without
// any. It is called with the lock.
func (s *supervisor) sweep() {
	if len(s.sockets) < s.sweepAt {
		return
	}
	s.forget()
	s.sweepAt = 2*len(s.sockets) + firstSweep
}

// sweepOften forgets closed sockets now and then, so that a namespace in which they were does not live
// on for their sake.
func (s *supervisor) sweepOften(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.mu.Lock()
			s.forget()
			s.mu.Unlock()
		}
	}
}

// forget is called with the lock.
func (s *supervisor) forget() {
	open, err := s.openSockets()
	if err != nil {
		return
	}
	used := map[*namespace]bool{}
	for inode, k := range s.sockets {
		if !open[inode] {
			delete(s.sockets, inode)
			continue
		}
		used[k.namespace] = true
	}
	for inode, ns := range s.namespaces {
		if ns.file != nil && ns.calls == 0 && !used[ns] {
			ns.file.Close()
			delete(s.namespaces, inode)
		}
	}
}

// openSockets returns the inodes of the sockets that any program has. The supervisor has no
// descriptors of them, but has put them into an epoll instance, from which the kernel takes a
// file when the last of its descriptors is closed (epoll(7)).
func (s *supervisor) openSockets() (map[uint64]bool, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", s.watch))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	open := map[uint64]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		_, rest, _ := strings.Cut(lines.Text(), " ino:")
		number, _, _ := strings.Cut(rest, " ")
		if inode, err := strconv.ParseUint(number, 16, 64); err == nil {
			open[inode] = true
		}
	}
	return open, lines.Err()
}
