package lab_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"uvs/lab"
)

// The socket of a director that was killed takes connections for a moment: what is started
// when a director is ready would find none.
func TestADirectorIsReadyWhenItAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(fd int) error
		want bool
	}{
		{"it answers", func(fd int) error {
			_, err := unix.Write(fd, []byte("HTTP/1.0 404 Not Found"))
			return err
		}, true},
		{"it has ended", func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) }, false},
		{"it does not answer", func(int) error { return nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fds[0])
			defer unix.Close(fds[1])
			if err := c.do(fds[1]); err != nil {
				t.Fatal(err)
			}
			if err := lab.Answers(fds[0]); (err == nil) != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}
