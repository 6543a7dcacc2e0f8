package nstest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// role is what a process of this test is: "go" for go test, "supervisor".
const role = "UVS_NSTEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "go":
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), role+"=relay")
		cmd.Stdout = os.Stdout
		_ = cmd.Run()
	case "relay":
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), role+"=supervisor")
		cmd.Stdout = os.Stdout
		code, _ := relay(cmd)
		os.Exit(code)
	case "supervisor":
		// Three things would be left behind: a child, a grandchild in a session of its
		// own whose parent ends, and a file.
		cmd := exec.Command("sh", "-c", `touch $TMPDIR/file; sleep 1000 & sh -c 'sleep 1000 &'; echo $PPID $TMPDIR; sleep 1000`)
		cmd.Env, cmd.Stdout = os.Environ(), os.Stdout
		code, _ := supervise(cmd)
		os.Exit(code)
	default:
		os.Exit(m.Run())
	}
}

// A process that is left behind keeps the output open: end of file means that there is none.
func TestNothingStaysBehind(t *testing.T) {
	for _, c := range []struct {
		name string
		stop func(test, supervisor int) error
	}{
		{"go test is killed", func(test, _ int) error { return unix.Kill(test, unix.SIGKILL) }},
		{"go test's group is killed", func(test, _ int) error { return unix.Kill(-test, unix.SIGKILL) }},
		{"go test's group is interrupted", func(test, _ int) error { return unix.Kill(-test, unix.SIGINT) }},
		{"the tests are terminated", func(_, supervisor int) error { return unix.Kill(supervisor, unix.SIGTERM) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), role+"=go", "TMPDIR="+t.TempDir())
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.Stdout = w
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			out := bufio.NewReader(r)
			var supervisor int
			var dir string
			if _, err := fmt.Fscan(out, &supervisor, &dir); err != nil {
				t.Fatal(err)
			}
			if err := c.stop(cmd.Process.Pid, supervisor); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait()
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("%s is still there: %v", dir, err)
			}
		})
	}
}
