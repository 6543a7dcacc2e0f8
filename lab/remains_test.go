package lab_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/lab/labtest"
)

// host is what a lab must not change on the machine.
type hostState struct{ links, mounts, sockets, temp string }

func observe(t *testing.T) hostState {
	t.Helper()
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	links, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		t.Fatal(err)
	}
	var sockets []string
	for line := range strings.Lines(read("/proc/net/unix")) {
		if strings.Contains(line, "uvs-lab/") && strings.Contains(line, remainsLab) {
			sockets = append(sockets, line)
		}
	}
	temp, _ := filepath.Glob(filepath.Join(os.TempDir(), "uvs*"))
	return hostState{strings.Join(links, " "), read("/proc/self/mountinfo"), strings.Join(sockets, ""), strings.Join(temp, " ")}
}

const remainsLab = "remains"

// marked returns the processes that have a word in their environment: all
// that a command started, wherever they went.
func marked(word string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte(word)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestNothingIsLeftAfterSIGKILL kills a process of a lab, any of them, at any
// moment, and then the one that owns it: the command in the foreground, or the
// supervisor of a lab that lives on. Soon after the machine is as it was.
func TestNothingIsLeftAfterSIGKILL(t *testing.T) {
	labtest.Available(t)
	program := labtest.Program(t)
	before := observe(t)
	for i := range 60 {
		word := "UVS_TEST_MARK=" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(i)
		args := []string{"lab", "run", "nat", "--name", remainsLab, "--", "sh", "-c", "sleep 60 & sleep 60"}
		if i%2 == 1 {
			args = []string{"lab", "up", "nat", "--name", remainsLab}
		}
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), word)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		if pids := marked(word); len(pids) > 0 {
			_ = unix.Kill(pids[rand.IntN(len(pids))], unix.SIGKILL)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		killSupervisor(word)
		if left := await(word); left != nil {
			t.Fatalf("round %d: processes %v are left", i, left)
		}
	}
	if after := observe(t); after != before {
		t.Errorf("the machine has changed\nfrom %+v\nto   %+v", before, after)
	}
}

// killSupervisor kills the first process of a lab that outlived its starter,
// as one that was started with "up" may.
func killSupervisor(word string) {
	for _, pid := range marked(word) {
		b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if bytes.HasPrefix(b, []byte("uvs-lab\x00")) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// await waits for marked processes to go, and returns those that do not.
func await(word string) []int {
	deadline := time.Now().Add(3 * time.Second)
	for {
		pids := marked(word)
		if len(pids) == 0 || time.Now().After(deadline) {
			return pids
		}
		time.Sleep(5 * time.Millisecond)
	}
}
