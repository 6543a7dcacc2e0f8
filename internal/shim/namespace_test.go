package shim

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/internal/ipvsnl"
)

// TestWhatCannotBePassedIsRefused asks in a namespace that cannot be entered, as that of a plain
// user's child in a user namespace of its own.
func TestWhatCannotBePassedIsRefused(t *testing.T) {
	closed, err := os.Open("/dev/null") // setns(2) does not take it
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	ns := &namespace{file: closed}
	for _, c := range []struct {
		name  string
		flags uint16
	}{
		{"a question", unix.NLM_F_REQUEST},
		{"a list", unix.NLM_F_REQUEST | unix.NLM_F_DUMP},
	} {
		m := question(c.flags)
		got := ns.pass(m)
		if len(got) != 1 {
			t.Errorf("%s: %d answers, want the error", c.name, len(got))
			continue
		}
		answer := ipvsnl.Message(got[0])
		number := -int32(native.Uint32(answer[unix.NLMSG_HDRLEN:]))
		if answer.Type() != unix.NLMSG_ERROR || number != int32(unix.EINVAL) || native.Uint32(answer[8:]) != sequence {
			t.Errorf("%s: % x, want EINVAL", c.name, answer)
		}
	}
}

// TestNamespacesThatNobodyUsesAreForgotten has sockets open, unsent ones too, and calls at work.
func TestNamespacesThatNobodyUsesAreForgotten(t *testing.T) {
	watch, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	s := &supervisor{watch: watch, sockets: map[uint64]*socket{}, namespaces: map[uint64]*namespace{}}
	program := make([]int, 2)
	for i := range program {
		fd, err := openSocket(unix.SOCK_RAW)
		if err != nil {
			t.Fatal(err)
		}
		var about unix.Stat_t
		err = errors.Join(unix.Fstat(fd, &about), unix.EpollCtl(watch, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{}))
		if err != nil {
			t.Fatal(err)
		}
		if program[i], err = unix.Dup(fd); err != nil { // as the program has it
			t.Fatal(err)
		}
		unix.Close(fd)
		ns := someNamespace(t)
		s.namespaces[uint64(i)] = ns
		s.sockets[about.Ino] = &socket{namespace: ns}
	}
	s.namespaces[2] = someNamespace(t)
	s.namespaces[2].calls = 1
	s.namespaces[3] = someNamespace(t)

	unix.Close(program[0])
	s.forget()
	if len(s.sockets) != 1 || s.namespaces[0] != nil || s.namespaces[1] == nil || s.namespaces[2] == nil || s.namespaces[3] != nil {
		t.Errorf("%d sockets, namespaces %v, want that of the open socket and that of the call", len(s.sockets), s.namespaces)
	}
	unix.Close(program[1])
	s.leave(s.namespaces[2])
	s.forget()
	if len(s.sockets) != 0 || len(s.namespaces) != 0 {
		t.Errorf("%d sockets, namespaces %v, want none", len(s.sockets), s.namespaces)
	}
}

func someNamespace(t *testing.T) *namespace {
	t.Helper()
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &namespace{file: f}
}

const sequence = 4711

// question asks the kernel for its generic netlink families.
func question(flags uint16) ipvsnl.Message {
	m := native.AppendUint32(nil, unix.NLMSG_HDRLEN+unix.GENL_HDRLEN)
	m = native.AppendUint16(m, unix.GENL_ID_CTRL)
	m = native.AppendUint16(m, flags)
	m = native.AppendUint32(m, sequence)
	m = native.AppendUint32(m, 0)
	return append(m, unix.CTRL_CMD_GETFAMILY, 1, 0, 0)
}
