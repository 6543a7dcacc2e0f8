package shim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/ipvsnl"
)

var native = binary.NativeEndian

// familyID is the number that programs learn for the family: the highest there is
// (linux/genetlink.h, GENL_MAX_ID). A kernel gives its own families the lowest that are free.
const familyID = unix.GENL_MAX_ID

// patience is how long a director may take to answer a message. The program waits meanwhile.
const patience = 10 * time.Second

// supervisor answers the system calls of the programs under one filter.
type supervisor struct {
	listener int
	sender   int    // the socket from which answers come
	port     uint32 // its port
	watch    int    // the kernel's list of the programs' sockets, for open
	dial     Dial
	rights   rights
	waiting  atomic.Int32

	mu         sync.Mutex
	sockets    map[uint64]*socket // by inode
	sweepAt    int                // how many sockets there may be before those that are closed are looked for
	namespaces map[uint64]*namespace
}

// newSupervisor returns a supervisor for a listener.
func newSupervisor(listener int, dial Dial) (*supervisor, error) {
	own, err := ownRights()
	if err != nil {
		return nil, err
	}
	sender, port, err := openSender()
	if err != nil {
		return nil, fmt.Errorf("open a socket for answers: %w", err)
	}
	watch, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch the programs' sockets: %w", err)
	}
	// The caller and its supervisor then run in turn on one CPU. Linux 6.6; without it they do
	// not, and take longer.
	_ = setFlags(listener, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	s := &supervisor{
		listener: listener, sender: sender, port: port, watch: watch, dial: dial, rights: own,
		sockets: map[uint64]*socket{}, sweepAt: firstSweep, namespaces: map[uint64]*namespace{},
	}
	return s, nil
}

// signals makes the supervisor outlive the signals that end a whole session or service: the
// programs that it serves may have something to say before they end.
func signals() {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
}

// serve answers calls until the last process under the filter has ended.
func (s *supervisor) serve(ctx context.Context) error {
	go s.sweepOften(ctx)
	go s.receive(ctx)
	for {
		ended := []unix.PollFd{{Fd: int32(s.listener)}} // POLLHUP comes unasked
		_, err := unix.Poll(ended, -1)
		if err == nil || !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive takes calls and answers them itself: to hand them to another goroutine costs more
// than most answers. While it is at work, another waits in its place, so that a director
// which takes its time holds nobody else up.
func (s *supervisor) receive(ctx context.Context) {
	s.waiting.Add(1)
	for {
		n, err := receive(s.listener)
		if err != nil {
			continue // the caller was interrupted, or has ended
		}
		if s.waiting.Add(-1) == 0 {
			go s.receive(ctx)
		}
		s.answer(ctx, n)
		if s.waiting.Add(1) > enough {
			s.waiting.Add(-1)
			return
		}
	}
}

// enough is how many goroutines wait for calls at most.
const enough = 4

// answer answers one call.
func (s *supervisor) answer(ctx context.Context, n notification) {
	switch n.number {
	case unix.SYS_SOCKET:
		s.socket(n)
	case unix.SYS_SENDMSG, unix.SYS_SENDTO:
		s.send(ctx, n)
	case unix.SYS_RECVMSG, unix.SYS_RECVFROM:
		s.read(n)
	case int32(openCalls[0]), int32(openCalls[len(openCalls)-1]):
		s.open(ctx, n)
	default:
		s.goOn(n)
	}
}

// goOn has the kernel carry out the call.
func (s *supervisor) goOn(n notification) {
	_ = respond(s.listener, response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// fail answers a call with an error.
func (s *supervisor) fail(n notification, err error) {
	_ = respond(s.listener, response{id: n.id, errno: -int32(errnoOf(err))})
}

// send carries out a send on a descriptor of the range.
func (s *supervisor) send(ctx context.Context, n notification) {
	to := s.socketOf(n)
	if to == nil {
		s.goOn(n)
		return
	}
	m, err := readMessage(n)
	entitled := s.rights.within(n.pid)
	switch {
	case err != nil:
		s.fail(n, err)
		return
	case !waits(s.listener, n.id):
		return
	case m.port != 0: // to another program
		s.goOn(n)
		return
	case !entitled:
		s.fail(n, unix.EPERM)
		return
	}
	if err := s.connect(to, n); err != nil {
		s.fail(n, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	to.deliver(s.sender, s.answers(ctx, to, m.data))
	_ = respond(s.listener, response{id: n.id, value: int64(len(m.data))})
}

// answers returns the datagrams that answer one.
func (s *supervisor) answers(ctx context.Context, from *socket, datagram []byte) (out [][]byte) {
	family := &ipvsnl.Family{ID: familyID, Director: from.namespace.director}
	for m, rest := ipvsnl.Next(datagram); m != nil; m, rest = ipvsnl.Next(rest) {
		switch {
		case !m.Asks():
			out = append(out, m.Ack()...)
		case family.Seeks(m):
			out = append(out, family.Introduce(ctx, m)...)
		case family.Lists(m):
			out = append(out, append(family.Entry(ctx, m), from.namespace.pass(m)...)...)
		case m.Type() == familyID:
			out = append(out, family.Answer(ctx, m)...)
		default:
			out = append(out, from.namespace.pass(m)...)
		}
	}
	return out
}
