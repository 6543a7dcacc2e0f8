package shim

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
