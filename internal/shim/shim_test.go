package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
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

// TestTheSupervisorHoldsNoFileOfItsCaller has a program close a pipe that it inherited, while it
// and so its supervisor live on.
func TestTheSupervisorHoldsNoFileOfItsCaller(t *testing.T) {
	nstest.Need(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := shimmedCommand("sh", "-c", "exec 3>&- 4>&-; read wait")
	cmd.ExtraFiles = []*os.File{write, write}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if err := read.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := read.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the pipe is still held: %v", err)
	}
	in.Close()
	_ = cmd.Wait() // read found nothing
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
	const socket = "@uvs-that-comes-and-goes"
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
	socket := fmt.Sprintf("@uvs-that-hangs-%d", os.Getpid())
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
	if err := syscall.Kill(supervisorWith(t, "UVS_TEST_MARK="+socket), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.Status != 2 {
		t.Errorf("in the middle of a question: %+v", got)
	}
	if got := r.run("", "ipvsadm", "-Ln"); !strings.Contains(got.Stderr, "Can't initialize ipvs: Protocol not available") {
		t.Errorf("afterwards: %+v, want the error of a missing module", got)
	}
}

// supervisorWith returns the supervisor that has a variable in its environment.
func supervisorWith(t *testing.T, variable string) (pid int) {
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
		return pid
	}
	t.Fatal("there is no supervisor")
	return 0
}

// Go's scheduler interrupts threads by SIGURG, on a busy machine also in the middle of an
// answer.
func TestSignalsInterruptNoAnswer(t *testing.T) {
	need(t, "ipvsadm")
	startDirector(t)
	mark := fmt.Sprintf("interrupted-%d", os.Getpid())
	t.Setenv("UVS_TEST_MARK", mark)
	r := startRunner(t, nil)
	r.run("", "ipvsadm", "-Ln") // which it answers, so it is there
	pid := supervisorWith(t, "UVS_TEST_MARK="+mark)
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
			for _, thread := range threads {
				tid, _ := strconv.Atoi(filepath.Base(thread))
				_ = unix.Tgkill(pid, tid, unix.SIGURG)
			}
		}
	}()
	// On a very busy machine one call in a thousand finds no family, for a reason that is not
	// known yet: one is let pass, and logged.
	failed := 0
	for range 200 {
		if got := r.run("", "ipvsadm", "-Ln"); got.Status != 0 {
			failed++
			t.Logf("%+v", got)
		}
	}
	if failed > 1 {
		t.Errorf("%d of 200 calls failed", failed)
	}
	close(stop)
	<-stopped
}

func TestOtherFamiliesAreAnsweredByTheKernel(t *testing.T) {
	nstest.Need(t)
	ask := func() string {
		cmd := shimmedCommand("/proc/self/exe")
		cmd.Env = append(cmd.Env, nextRole+"=families")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	t.Setenv("UVS_SOCKET", "@nobody")
	for _, want := range []string{"list: <nil>\n", "\nnlctrl 2 ", "\nget: nlctrl\n", "\nget: IPVS no such file or directory\n"} {
		if got := ask(); !strings.Contains(got, want) || strings.Contains(got, "\nIPVS ") {
			t.Errorf("without a director %q is missing from\n%s", want, got)
		}
	}
	startDirector(t)
	for _, want := range []string{"list: <nil>\n", "\nnlctrl 2 ", "\nIPVS 1 16\n", "\nget: nlctrl\n", "\nget: IPVS\n"} {
		if got := ask(); !strings.Contains(got, want) {
			t.Errorf("%q is missing from\n%s", want, got)
		}
	}
}

// TestALongListWaitsForItsReader lists many servers: much more than a socket's queue
// holds, so that what is left comes as the program reads.
func TestALongListWaitsForItsReader(t *testing.T) {
	need(t, "ipvsadm")
	d := startDirector(t)
	const n = 5000
	k := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80}
	commands := []config.Command{{Op: config.OpAddService, Service: &config.Service{Key: k, Scheduler: "rr"}}}
	for i := range n {
		s := config.NewServer()
		s.Addr, s.Port = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80
		commands = append(commands, config.Command{Op: config.OpAddServer, Service: &config.Service{Key: k}, Server: &s})
	}
	if err := errors.Join(d.Apply(commands, false)...); err != nil {
		t.Fatal(err)
	}
	got := startRunner(t, nil).run("", "ipvsadm", "-Ln")
	if lines := strings.Count(got.Stdout, "\n  -> 10.1."); got.Status != 0 || lines != n {
		t.Errorf("%d servers are listed, status %d, want %d: %s", lines, got.Status, n, got.Stderr)
	}
}

func TestTheOlderInterfaceIsNotThere(t *testing.T) {
	nstest.Need(t)
	cmd := shimmedCommand("/proc/self/exe")
	cmd.Env = append(cmd.Env, nextRole+"=option")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "protocol not available, <nil>\n" {
		t.Errorf("%v, %s", err, out)
	}
}
