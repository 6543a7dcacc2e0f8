package load

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// client is a thread of clients: an event loop with several connections, each of
// which has one request under way.
type client struct {
	all   *clients
	epoll int
	slots []clientConn
	times []int64 // of the window, in microseconds
	ask   [requestLen]byte
	buf   [answerLen + 1]byte
	now   time.Time
}

// clientConn is a client, which has a connection all the time.
type clientConn struct {
	fd    int // -1: none
	asked bool
	got   int
	begin time.Time
}

// errAnswer is of a server, or a balancer, that says something else.
var errAnswer = errors.New("wrong answer")

// answerPatience is the longest that a client waits for a connection or an answer.
const answerPatience = 2 * time.Second

// start starts thread i of some: each has its part of the connections.
func (g *clients) start(i, threads int, run func(conns int) error) {
	conns := g.call.Conns / threads
	if i < g.call.Conns%threads {
		conns++
	}
	g.wg.Go(func() {
		if err := inNode(ClientNode, func() error { return run(conns) }); err != nil {
			g.failed.Add(1)
		}
	})
}

// eventLoop is a thread of clients until the trial ends.
func (g *clients) eventLoop(conns int) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("bench: clients: %w", err)
	}
	defer unix.Close(epoll)
	t := &client{all: g, epoll: epoll, slots: make([]clientConn, conns), now: time.Now()}
	t.ask[0] = g.call.Kind[0]
	for i := range t.slots {
		t.slots[i].fd = -1
		t.open(i)
	}
	defer t.close()
	t.run()
	g.record(t.times)
	return nil
}

func (t *client) run() {
	events := make([]unix.EpollEvent, 64)
	swept := t.now
	for !t.all.stop.Load() {
		n, err := unix.EpollWait(t.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		t.now = time.Now()
		for _, e := range events[:max(n, 0)] {
			t.handle(int(e.Fd), e.Events)
		}
		if t.now.Sub(swept) > answerPatience/10 {
			t.sweep()
			swept = t.now
		}
	}
}

// open gives a client a new connection, which is not made yet when it returns.
func (t *client) open(i int) {
	s := &t.slots[i]
	s.begin, s.asked, s.got = time.Now(), false, 0
	if err := t.dial(i); err != nil {
		t.fail(i, err)
	}
}

func (t *client) dial(i int) (err error) {
	to, s := t.all.call.To, &t.slots[i]
	if s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	err = unix.Connect(s.fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(i)})
}

// handle goes on with a client whose socket has something to say.
func (t *client) handle(i int, events uint32) {
	var err error
	switch s := &t.slots[i]; {
	case s.fd < 0:
	case !s.asked && events&unix.EPOLLOUT != 0:
		err = t.request(s)
	case events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0:
		err = t.answer(i)
	}
	if err != nil {
		t.fail(i, err)
	}
}

func (t *client) request(s *clientConn) error {
	s.asked, s.got = true, 0
	_, err := unix.Write(s.fd, t.ask[:])
	return err
}

// answer reads what is there. After a whole answer the client asks again, by a
// new connection if each is for one request.
func (t *client) answer(i int) error {
	s := &t.slots[i]
	n, err := read(s.fd, t.buf[:])
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		return err
	}
	for j, b := range t.buf[:n] {
		if b != fill(s.got+j) {
			return errAnswer
		}
	}
	if s.got += n; s.got > answerLen {
		return errAnswer
	}
	if n == 0 {
		return io.ErrUnexpectedEOF
	}
	if s.got < answerLen {
		return nil
	}
	t.all.done.Add(1)
	end := time.Now()
	if t.all.timing.Load() {
		t.times = append(t.times, end.Sub(s.begin).Microseconds())
	}
	if t.all.call.Kind == Connect {
		unix.Close(s.fd)
		t.open(i)
		return nil
	}
	s.begin = end
	return t.request(s)
}

// fail gives a client up. It has a new connection after the next sweep.
func (t *client) fail(i int, err error) {
	t.all.failed.Add(1)
	if errors.Is(err, errAnswer) {
		t.all.wrong.Add(1)
	}
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		t.all.refused.Add(1)
	}
	if s := &t.slots[i]; s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// sweep fails clients that have waited too long, and lets those that failed try
// again.
func (t *client) sweep() {
	for i := range t.slots {
		switch s := &t.slots[i]; {
		case s.fd < 0:
			t.open(i)
		case t.now.Sub(s.begin) > answerPatience:
			t.fail(i, unix.ETIMEDOUT)
		}
	}
}

func (t *client) close() {
	for _, s := range t.slots {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
	}
}
