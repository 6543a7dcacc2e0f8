package load

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// servers are the real servers of a trial: threads with an event loop each, which
// share the port by SO_REUSEPORT (socket(7)) on all addresses of the server node.
type servers struct {
	stop atomic.Bool
	wg   sync.WaitGroup
}

// server is one of them.
type server struct {
	all           *servers
	epoll, listen int
	conns         map[int]*partialRequest
	reply         [answerLen]byte
	buf           [requestLen]byte
}

// partialRequest is what has come of a request.
type partialRequest struct {
	kind byte
	got  int
}

func startServers(port uint16) (*servers, error) {
	all := &servers{}
	for range loopThreads {
		ready := make(chan error)
		all.wg.Go(func() {
			err := inNode(ServerNode, func() error {
				s := &server{all: all, conns: map[int]*partialRequest{}}
				err := s.open(port)
				ready <- err
				if err == nil {
					s.run()
				}
				s.close()
				return nil
			})
			if err != nil {
				ready <- err
			}
		})
		if err := <-ready; err != nil {
			all.close()
			return nil, fmt.Errorf("bench: server: %w", err)
		}
	}
	return all, nil
}

// close ends all servers and their connections.
func (s *servers) close() {
	s.stop.Store(true)
	s.wg.Wait()
}

func (s *server) open(port uint16) (err error) {
	for i := range s.reply {
		s.reply[i] = fill(i)
	}
	s.epoll, s.listen = -1, -1
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if s.listen, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(s.listen, unix.SOL_SOCKET, option, 1); err != nil {
			return err
		}
	}
	if err := unix.Bind(s.listen, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		return err
	}
	if err := unix.Listen(s.listen, 4096); err != nil {
		return err
	}
	return s.watch(s.listen)
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (s *server) run() {
	events := make([]unix.EpollEvent, 64)
	for !s.all.stop.Load() {
		n, err := unix.EpollWait(s.epoll, events, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, e := range events[:max(n, 0)] {
			if fd := int(e.Fd); fd == s.listen {
				s.accept()
			} else if !s.serve(fd, s.conns[fd]) {
				s.end(fd)
			}
		}
	}
}

func (s *server) accept() {
	for {
		fd, _, err := unix.Accept4(s.listen, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		s.conns[fd] = &partialRequest{}
		if s.watch(fd) != nil {
			s.end(fd)
		}
	}
}

// serve reads, and answers a request that is complete. It reports false at the
// end of the connection.
func (s *server) serve(fd int, c *partialRequest) bool {
	n, err := read(fd, s.buf[:requestLen-c.got])
	if errors.Is(err, unix.EAGAIN) {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	if c.got == 0 {
		c.kind = s.buf[0]
	}
	if c.got += n; c.got < requestLen {
		return true
	}
	c.got = 0
	if c.kind == Bulk[0] {
		s.sendBulk(fd)
		return true
	}
	_, err = unix.Write(fd, s.reply[:])
	return err == nil && c.kind != Connect[0]
}

// sendBulk hands a connection to a thread that sends until the other end closes it.
func (s *server) sendBulk(fd int) {
	delete(s.conns, fd)
	_ = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	_ = unix.SetNonblock(fd, false)
	s.all.wg.Go(func() {
		defer unix.Close(fd)
		tv := unix.Timeval{Usec: 100_000}
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
		block := make([]byte, 256<<10)
		for !s.all.stop.Load() {
			if _, err := unix.Write(fd, block); err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
				return
			}
		}
	})
}

func (s *server) end(fd int) {
	delete(s.conns, fd)
	unix.Close(fd)
}

func (s *server) close() {
	for fd := range s.conns {
		unix.Close(fd)
	}
	for _, fd := range []int{s.epoll, s.listen} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
