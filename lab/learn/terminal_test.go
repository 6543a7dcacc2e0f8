package learn_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"uvs/lab/labtest"
)

// screen is a terminal on which a program runs, and all that it has shown.
type screen struct {
	t     *testing.T
	tty   *os.File
	shown string
}

// await reads until the program has shown a text after the last one that was awaited.
func (s *screen) await(text string) {
	s.t.Helper()
	piece := make([]byte, 4096)
	late := time.AfterFunc(30*time.Second, func() { s.tty.Close() })
	defer late.Stop()
	for !strings.Contains(s.shown, text) {
		n, err := s.tty.Read(piece)
		s.shown += string(piece[:n])
		if err != nil && !strings.Contains(s.shown, text) {
			s.t.Fatalf("no %q before %v:\n%s", text, err, s.shown)
		}
	}
	_, s.shown, _ = strings.Cut(s.shown, text)
}

func (s *screen) enter(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// On a terminal, what is typed is a command's while it runs, and the lesson's afterwards.
func TestALessonOnATerminal(t *testing.T) {
	t.Parallel()
	labtest.Available(t)
	cmd := exec.Command(labtest.Program(t), "learn", "nat", "--lang", "en")
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir(), "TERM=xterm")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	defer cmd.Process.Kill()
	s := &screen{t: t, tty: tty}
	s.await("Step 1 of 7")
	s.await("director# ipvsadm")
	s.await("director# ")
	s.enter("ipvsadm -A -t 172.16.253.63:80 -s rr\r")
	s.await("Step 2 of 7")
	s.await("-r 192.168.166.131 -m")
	s.await("director# ")
	s.enter("not this\x03client echo beg''un; read word; echo got $word; stty size\r")
	s.await("begun")
	s.enter("what\r")
	s.await("got what")
	s.await("40 100")
	s.await("not yet")
	s.await("director# ")
	s.enter("echo beg''un; read word\r")
	s.await("begun")
	s.enter("\x03")
	s.await("not yet")
	s.await("director# ")
	s.enter("\x04")
	s.await("1 of 7 steps are done")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
