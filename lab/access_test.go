package lab_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// envIntrude makes the test binary another user who tries a lab's socket.
const envIntrude = "UVS_TEST_INTRUDE"

func init() {
	if socket := os.Getenv(envIntrude); socket != "" {
		os.Stdout.WriteString(lab.Intrude(socket))
		os.Exit(0)
	}
}

func TestNoOtherUserGetsIn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	l := labtest.Start(t, routed(t, lab.Options{}))
	for _, c := range []struct {
		name string
		uid  uint32
		want string
	}{
		{"nobody is refused", 65534, "belongs to another user"},
		{"a plain user is refused", 1000, "belongs to another user"},
		{"root is let in", 0, "let in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// By descriptor: the directory of the test binary may be
			// closed to that user.
			self, err := os.Open("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			defer self.Close()
			cmd := exec.Command("/proc/self/fd/3")
			cmd.ExtraFiles = []*os.File{self}
			cmd.Dir = "/"
			cmd.Env = append(os.Environ(), envIntrude+"="+lab.SocketOf(l))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("user %d: %s, %v; want %q", c.uid, out, err, c.want)
			}
		})
	}
}
