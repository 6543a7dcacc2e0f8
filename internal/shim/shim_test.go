package shim

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"uvs/internal/control/controltest"
	"uvs/internal/nstest"
)

func TestTheShimBecomesTheProgram(t *testing.T) {
	nstest.Need(t)
	cmd := shimmedCommand("sh", "-c", `echo $$ $PPID; exit 7`)
	var out strings.Builder
	cmd.Stdout = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("it ended with %v, want status 7", err)
	}
	words := strings.Fields(out.String())
	if want := exit.Pid(); len(words) < 2 || words[0] != strconv.Itoa(want) || words[1] != strconv.Itoa(syscall.Getpid()) {
		t.Errorf("its process and parent are %q, want %d and %d", words, want, syscall.Getpid())
	}
}

func TestASignalEndsTheProgram(t *testing.T) {
	nstest.Need(t)
	err := shimmedCommand("sh", "-c", "kill -TERM $$").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want SIGTERM", err)
	}
}

func TestADirectorMayComeAndGo(t *testing.T) {
	need(t, "ipvsadm")
	socket := filepath.Join(t.TempDir(), "uvs")
	t.Setenv("UVS_SOCKET", socket)
	r := startRunner(t, nil)
	const missing = "Can't initialize ipvs: Protocol not available"
	for i := range 3 {
		if got := r.run("", "ipvsadm", "-Ln"); got.Status != 2 || !strings.Contains(got.Stderr, missing) {
			t.Errorf("round %d without a director: %+v, want the error of a missing module", i, got)
		}
		stop := serve(t, controltest.New(), socket)
		if got := r.run("", "ipvsadm", "-A", "-t", "10.0.0.1:80"); got.Status != 0 {
			t.Errorf("round %d with a director: %+v", i, got)
		}
		stop()
	}
}

func TestAKilledShimLeavesNoProgramHanging(t *testing.T) {
	need(t, "ipvsadm")
	// Whoever connects here waits.
	socket := filepath.Join(t.TempDir(), "uvs")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("UVS_SOCKET", socket)
	t.Setenv("UVS_TEST_MARK", socket)
	r := startRunner(t, nil)
	done := make(chan outcome)
	go func() { done <- r.run("", "ipvsadm", "-Ln") }()
	c, err := l.Accept() // the program is in the middle of its question
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	killSupervisor(t, "UVS_TEST_MARK="+socket)
	if got := <-done; got.Status != 2 {
		t.Errorf("in the middle of a question: %+v", got)
	}
	if got := r.run("", "ipvsadm", "-Ln"); !strings.Contains(got.Stderr, "Can't initialize ipvs: Protocol not available") {
		t.Errorf("afterwards: %+v, want the error of a missing module", got)
	}
}

// killSupervisor kills the supervisor that has a variable in its environment.
func killSupervisor(t *testing.T, variable string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte("(supervisor)")) {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if err != nil || !bytes.Contains(environ, []byte(variable)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("there is no supervisor")
}
