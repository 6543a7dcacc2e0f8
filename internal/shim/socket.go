package shim

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// socket is one that the supervisor made and a program has.
type socket struct {
	namespace *namespace

	mu    sync.Mutex
	port  uint32 // netlink port; 0 until the first send
	queue [][]byte
}

// socket answers a call of socket(2) for generic netlink. A program without the supervisor's rights
// gets what it asks for from the kernel: the supervisor must not lend them.
func (s *supervisor) socket(n notification) {
	if !s.rights.within(n.pid) {
		s.goOn(n)
		return
	}
	if err := s.makeSocket(n); err != nil {
		s.fail(n, err)
	}
}

func (s *supervisor) makeSocket(n notification) error {
	// What it sends must be readable. It is not if Yama restricts that to ancestors.
	if err := readMemory(int(n.pid), n.at, make([]byte, 1)); errors.Is(err, unix.EPERM) {
		return err
	}
	ns, err := s.namespaceOf(n.pid)
	if err != nil {
		return err
	}
	defer s.leave(ns)
	fd, err := openSocket(int(n.args[1]))
	if err != nil {
		return err
	}
	defer unix.Close(fd) // the program alone holds it then
	var about unix.Stat_t
	if err := unix.Fstat(fd, &about); err != nil {
		return err
	}
	if err := unix.EpollCtl(s.watch, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets[about.Ino] = &socket{namespace: ns}
	if err := s.give(n, fd); err != nil {
		delete(s.sockets, about.Ino)
		return err
	}
	s.sweep()
	return nil
}

// dropAll is a socket's filter that lets nothing in.
var dropAll = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}

// openSocket makes a socket for a program. Any user may send to a bound socket of this protocol,
// so nothing gets in until bind connects it to the supervisor. It cannot be connected at once: that
// would bind it, and libraries choose the port themselves.
func openSocket(kind int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, kind|unix.SOCK_CLOEXEC, unix.NETLINK_USERSOCK)
	if err != nil {
		return -1, err
	}
	filter := dropAll
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &filter})
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openSender makes the socket from which answers come, and returns its port. It is connected to
// port 0, which no process has: nobody can send to it.
func openSender() (fd int, port uint32, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_USERSOCK)
	if err != nil {
		return -1, 0, err
	}
	err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		port, err = portOf(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, port, nil
}

// give gives a socket to the caller, under the first free descriptor of the range. It is
// called with the lock.
func (s *supervisor) give(n notification, fd int) error {
	a := addition{id: n.id, flags: unix.SECCOMP_ADDFD_FLAG_SETFD, from: uint32(fd)}
	if n.args[1]&unix.SOCK_CLOEXEC != 0 {
		a.open = unix.O_CLOEXEC
	}
	for a.to = firstFD; a.to <= lastFD; a.to++ {
		_, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", n.pid, a.to))
		if err == nil {
			continue
		}
		err = addFD(s.listener, a)
		if errors.Is(err, unix.EBADF) && raiseLimit(int(n.pid)) == nil {
			err = addFD(s.listener, a)
		}
		return err
	}
	return unix.EMFILE
}

// raiseLimit lets a process have descriptors of the range.
func raiseLimit(pid int) error {
	var limit unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit)
	if err != nil || limit.Cur > lastFD {
		return errors.Join(err, unix.EMFILE)
	}
	limit.Cur = min(lastFD+1, limit.Max)
	return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil)
}

// socketOf returns the socket on which a call sends, nil if it is not one of ours.
func (s *supervisor) socketOf(n notification) *socket {
	var text [64]byte
	size, err := unix.Readlink("/proc/"+strconv.Itoa(int(n.pid))+"/fd/"+strconv.Itoa(int(int32(n.args[0]))), text[:])
	if err != nil {
		return nil
	}
	number, isSocket := strings.CutPrefix(string(text[:size]), "socket:[")
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	if err != nil || !isSocket {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sockets[inode]
}

// connect connects a socket that is sent on for the first time.
func (s *supervisor) connect(k *socket, n notification) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.port != 0 {
		return nil
	}
	fd, err := takeFD(n)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return k.bind(fd, s.port)
}

// bind connects the socket to the supervisor's port, from which alone the kernel then lets
// anything in (net/netlink/af_netlink.c, netlink_getsockbyportid), and opens it. A socket without
// a port gets one, as the kernel does before the first send. It is called with the lock.
func (k *socket) bind(fd int, supervisor uint32) error {
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: supervisor}); err != nil {
		return err
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) { // the program has removed it
		return err
	}
	k.port, err = portOf(fd)
	return err
}

func portOf(fd int) (uint32, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return name.(*unix.SockaddrNetlink).Pid, nil
}

// deliver sends answers to the socket, addressed to its port as the kernel does. What its
// queue has no room for now, the program gets as it reads.
func (k *socket) deliver(sender int, answers [][]byte) {
	for _, a := range answers {
		address(a, k.port)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	waiting := len(k.queue) > 0
	for len(answers) > 0 && !waiting {
		if err := k.sendTo(sender, answers[0], unix.MSG_DONTWAIT); errors.Is(err, unix.EAGAIN) {
			break
		}
		answers = answers[1:]
	}
	k.queue = append(k.queue, answers...)
	if len(k.queue) > 0 && !waiting {
		go k.drain(sender)
	}
}

// drain sends what waits, in order. It ends when the program closes the socket, because then
// each send fails.
func (k *socket) drain(sender int) {
	for {
		k.mu.Lock()
		if len(k.queue) == 0 {
			k.mu.Unlock()
			return
		}
		next := k.queue[0]
		k.mu.Unlock()
		err := k.sendTo(sender, next, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		k.mu.Lock()
		k.queue = k.queue[1:]
		k.mu.Unlock()
	}
}

// more reports whether answers are in the queue that the kernel has not yet taken. If not, a read
// after this finds all that there are. If so, one that finds nothing must not be left to the
// kernel, which would name the supervisor as the sender.
func (k *socket) more() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.queue) > 0
}

// awaitDatagram waits a little until there is something to read.
func awaitDatagram(fd int) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10)
}

func (k *socket) sendTo(sender int, datagram []byte, flags int) error {
	return unix.Sendto(sender, datagram, flags, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: k.port})
}

// address writes the receiver's port into the messages of a datagram (netlink(7), nlmsg_pid).
func address(datagram []byte, port uint32) {
	for len(datagram) >= unix.NLMSG_HDRLEN {
		native.PutUint32(datagram[12:], port)
		size := int(native.Uint32(datagram))
		if size < unix.NLMSG_HDRLEN {
			return
		}
		datagram = datagram[min((size+3)&^3, len(datagram)):]
	}
}
