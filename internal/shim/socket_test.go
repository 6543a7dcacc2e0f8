package shim

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnlyTheSupervisorReachesAProgram has a stranger, as any user can be, send to a program's
// socket before and after its first message.
func TestOnlyTheSupervisorReachesAProgram(t *testing.T) {
	sender, supervisor, err := openSender()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sender)
	program, err := openSocket(unix.SOCK_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(program)
	if err := unix.Bind(program, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	port, err := portOf(program)
	if err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port}
	stranger := strangeSocket(t)

	if err := unix.Sendto(stranger, make([]byte, 20), 0, to); err != nil {
		t.Error("before:", err)
	}
	k := &socket{}
	if err := k.bind(program, supervisor); err != nil || k.port != port {
		t.Fatalf("bind: port %d, %v, want %d", k.port, err, port)
	}
	if err := unix.Sendto(stranger, make([]byte, 20), 0, to); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after: %v, want it refused", err)
	}
	if n, _, err := unix.Recvfrom(program, make([]byte, 64), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the program reads %d bytes of a stranger, %v", n, err)
	}
	k.deliver(sender, [][]byte{make([]byte, 24)})
	if n, _, err := unix.Recvfrom(program, make([]byte, 64), unix.MSG_DONTWAIT); n != 24 || err != nil {
		t.Errorf("of the supervisor it reads %d bytes, %v, want 24", n, err)
	}
	err = unix.Sendto(stranger, make([]byte, 20), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: supervisor})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("to the supervisor: %v, want it refused", err)
	}
}

// TestAReaderOutrunsTheSupervisor reads answers that do not fit into a socket at once: when none is
// there, more says whether one comes.
func TestAReaderOutrunsTheSupervisor(t *testing.T) {
	sender, supervisor, err := openSender()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sender)
	program, err := openSocket(unix.SOCK_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(program)
	k := &socket{}
	if err := k.bind(program, supervisor); err != nil {
		t.Fatal(err)
	}
	const n = 2000
	answers := make([][]byte, n)
	for i := range answers {
		answers[i] = make([]byte, 4000)
	}
	k.deliver(sender, answers)
	got := 0
	for buf := make([]byte, 4096); ; {
		more := k.more()
		_, _, err := unix.Recvfrom(program, buf, unix.MSG_DONTWAIT)
		if err == nil {
			got++
			continue
		}
		if !more || !errors.Is(err, unix.EAGAIN) {
			break
		}
		awaitDatagram(program)
	}
	if got != n {
		t.Errorf("%d of %d answers are read", got, n)
	}
}

// strangeSocket returns a socket that is no supervisor's.
func strangeSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_USERSOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestAProgramIsToldTheTrueSender(t *testing.T) {
	const supervisor = 77
	for _, c := range []struct {
		name         string
		from         unix.SockaddrNetlink
		port, groups uint32
	}{
		{"the supervisor is the kernel", unix.SockaddrNetlink{Pid: supervisor}, 0, 0},
		{"a stranger is itself", unix.SockaddrNetlink{Pid: 78}, 78, 0},
		{"a stranger that sends to a group is itself", unix.SockaddrNetlink{Pid: 78, Groups: 4}, 78, 4},
	} {
		got := senderName(&c.from, supervisor)
		if port, groups := native.Uint32(got[4:]), native.Uint32(got[8:]); port != c.port || groups != c.groups {
			t.Errorf("%s: port %d, groups %d, want %d, %d", c.name, port, groups, c.port, c.groups)
		}
	}
}
