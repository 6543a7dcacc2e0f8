package load

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns a connection of a client and what a server would hold.
func pair(t *testing.T) (client, server int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func rightAnswer() []byte {
	b := make([]byte, answerLen)
	for i := range b {
		b[i] = fill(i)
	}
	return b
}

func TestATCPClientCountsAnswersByWhatTheyAre(t *testing.T) {
	changed := rightAnswer()
	changed[100]++
	for _, test := range []struct {
		name                string
		answer              []byte
		closes              bool
		done, failed, wrong uint64
	}{
		{"a right answer", rightAnswer(), false, 1, 0, 0},
		{"half of it, so far", rightAnswer()[:64], false, 0, 0, 0},
		{"half of it, and no more", rightAnswer()[:64], true, 0, 1, 0},
		{"one with a changed byte", changed, false, 0, 1, 1},
		{"one that is too long", append(rightAnswer(), fill(answerLen)), false, 0, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			fd, server := pair(t)
			all := &clients{call: &TCPCall{Kind: Request}}
			c := &client{all: all, slots: []clientConn{{fd: fd, asked: true, begin: time.Now()}}}
			t.Cleanup(c.close)
			if _, err := unix.Write(server, test.answer); err != nil {
				t.Fatal(err)
			}
			c.handle(0, unix.EPOLLIN)
			if test.closes {
				_ = unix.Shutdown(server, unix.SHUT_WR)
				c.handle(0, unix.EPOLLIN)
			}
			if all.done.Load() != test.done || all.failed.Load() != test.failed || all.wrong.Load() != test.wrong {
				t.Errorf("done %d, failed %d, wrong %d; want %d, %d, %d", all.done.Load(), all.failed.Load(), all.wrong.Load(), test.done, test.failed, test.wrong)
			}
		})
	}
}

func TestAHeldConnectionThatIsAnsweredByAnotherServerIsAFault(t *testing.T) {
	numbered := func(n uint16, change int) []byte {
		b := rightAnswer()
		binary.BigEndian.PutUint16(b, n)
		if change > 0 {
			b[change]++
		}
		return b
	}
	for _, test := range []struct {
		name   string
		answer []byte
		want   string
	}{
		{"by the server of before", numbered(2, 0), ""},
		{"by another", numbered(3, 0), "a connection was answered by another server than before"},
		{"with wrong bytes", numbered(2, 90), "an answer has wrong bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fd, server := pair(t)
			defer unix.Close(fd)
			_ = unix.SetNonblock(fd, false)
			h := &heldClients{}
			if _, err := unix.Write(server, test.answer); err != nil {
				t.Fatal(err)
			}
			_ = h.askAgain(fd, 2)
			got := ""
			if len(h.out.Faults) > 0 {
				got = h.out.Faults[0]
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
