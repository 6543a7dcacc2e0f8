package keeper

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/internal/fdstore"
)

// Variables that make the test binary a keeper, or the program that a keeper runs.
const (
	keeperEnv  = "UVS_TEST_KEEPER"
	programEnv = "UVS_TEST_PROGRAM" // what the program does
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(keeperEnv) != "":
		os.Unsetenv(keeperEnv)
		keep()
	case os.Getenv(programEnv) != "":
		program(os.Getenv(programEnv))
	}
	os.Exit(m.Run())
}

func keep() {
	k := &Keeper{Command: Command{Path: "/proc/self/exe", Args: []string{"program"}}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	status, err := k.Run(Signals())
	if err != nil {
		fmt.Println("error:", err)
	}
	fmt.Println("end:", status)
	os.Exit(status)
}

// program is a director that adds its number to a kept file, says how many there are, and
// waits for a signal.
func program(what string) {
	s, err := fdstore.FromEnv()
	if err != nil {
		fmt.Println(err)
	}
	if what == "fails" {
		os.Exit(3)
	}
	f := s.Take("count")
	if f == nil {
		fd, err := unix.MemfdCreate("count", unix.MFD_CLOEXEC)
		if err != nil {
			fmt.Println(err)
		}
		f = os.NewFile(uintptr(fd), "count")
		if err := s.Keep("count", f); err != nil {
			fmt.Println(err)
		}
	}
	f.Seek(0, io.SeekEnd)
	fmt.Fprint(f, "x")
	info, _ := f.Stat()
	if what == "fails later" && info.Size() == 2 {
		os.Exit(4)
	}
	if os.Getenv("OPTION") != "" { // the one before says who takes over, and ends
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals)
	if err := s.Notify("READY=1"); err != nil {
		fmt.Println(err)
	}
	fmt.Println("start", info.Size(), "of", os.Getpid())
	for sig := range signals {
		if sig == unix.SIGURG { // by Go's scheduler
			continue
		}
		fmt.Println("signal:", sig)
		switch sig {
		case unix.SIGTERM:
			os.Exit(0)
		case unix.SIGUSR2:
			other := exec.Command("/proc/self/exe")
			other.Env = append(os.Environ(), programEnv+"=fails")
			_ = other.Run()
			_ = s.Notify(fmt.Sprint("MAINPID=", other.Process.Pid))
			os.Exit(0)
		case unix.SIGUSR1:
			other := exec.Command("/proc/self/exe", "--replace", "program", "of another build")
			other.Dir, other.Env = "/", append(os.Environ(), "NOTIFY_SOCKET="+s.Manager(), "OPTION=its own")
			other.Stdout = os.Stdout
			_, _ = other.StdinPipe() // it ends with this process
			_ = other.Start()
			_ = s.Notify(fmt.Sprint("MAINPID=", other.Process.Pid))
			os.Exit(0)
		}
	}
}

// running is a keeper in a process of its own.
type running struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Scanner
}

func start(t *testing.T, what string) *running {
	t.Helper()
	r := &running{t: t, cmd: exec.Command("/proc/self/exe")}
	r.cmd.Env = append(os.Environ(), keeperEnv+"=1", programEnv+"="+what)
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewScanner(out)
	t.Cleanup(func() { _ = r.cmd.Process.Signal(unix.SIGTERM); _ = r.cmd.Wait() })
	return r
}

// expect reads the next line, which begins like want, and returns the number of the program
// in it, if there is one.
func (r *running) expect(want string) (pid int) {
	r.t.Helper()
	if !r.out.Scan() {
		r.t.Fatalf("the end, want %q", want)
	}
	line := r.out.Text()
	if !strings.HasPrefix(line, want) {
		r.t.Fatalf("%q, want %q", line, want)
	}
	_, number, _ := strings.Cut(line, " of ")
	fmt.Sscan(number, &pid)
	return pid
}

func (r *running) signal(s unix.Signal) { _ = r.cmd.Process.Signal(s) }

func TestAKilledProgramIsStartedAgainWithItsDescriptors(t *testing.T) {
	r := start(t, "runs")
	for n := 1; n <= 20; n++ {
		pid := r.expect(fmt.Sprintf("start %d of", n))
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	r.expect("start 21 of")
	r.signal(unix.SIGHUP)
	r.expect("signal: hangup")
	r.signal(unix.SIGTERM)
	r.expect("signal: terminated")
	r.expect("end: 0")
}

func TestAProgramThatFailsAtItsStartIsNotStartedAgain(t *testing.T) {
	start(t, "fails").expect("end: 3")
}

func TestAProgramThatFailsAfterAnotherWasReadyIsStartedAgain(t *testing.T) {
	r := start(t, "fails later")
	_ = unix.Kill(r.expect("start 1 of"), unix.SIGKILL)
	r.expect("start 3 of")
}

func TestAProgramThatEndsByItselfEndsTheKeeper(t *testing.T) {
	r := start(t, "runs")
	_ = unix.Kill(r.expect("start 1 of"), unix.SIGTERM)
	r.expect("signal: terminated")
	r.expect("end: 0")
}

// The process that takes over is no child of the keeper. It is watched, gets its signals, and
// is started again by its own command.
func TestAProcessThatTakesOverIsKeptRunning(t *testing.T) {
	r := start(t, "runs")
	old := r.expect("start 1 of")
	_ = unix.Kill(old, unix.SIGUSR1)
	r.expect("signal: user")
	next := r.expect("start 1 of") // it was passed no descriptor, since the program here passes none
	r.signal(unix.SIGHUP)
	r.expect("signal: hangup")
	c, err := commandOf(next)
	if err != nil || strings.Join(c.Args, " ") != "/proc/self/exe program of another build" {
		t.Errorf("it runs %q, %v", c.Args, err)
	}
	_ = unix.Kill(next, unix.SIGKILL)
	again := r.expect("start 2 of") // with what the process has kept
	if c, err := commandOf(again); err != nil || strings.Join(c.Args, " ") != "/proc/self/exe program of another build" {
		t.Errorf("started again is %q, %v", c.Args, err)
	} else if c.Dir != "/" || !slices.Contains(c.Env, "OPTION=its own") {
		t.Errorf("it is started in %s with %q", c.Dir, c.Env)
	}
	r.signal(unix.SIGTERM)
	r.expect("signal: terminated")
	r.expect("end: 0")
}

// A deleted program's path can be anybody's by then.
func TestPathsThatOthersCanChange(t *testing.T) {
	for path, own := range map[string]bool{"/etc/passwd": true, "/tmp/uvs": false, "/etc/no such file": false} {
		if ownPath(path) != own {
			t.Errorf("%s: own is %v", path, !own)
		}
	}
}

// Nobody would be left: neither has the new one come about, nor does the old one go on.
func TestAProgramWhoseSuccessorIsDeadIsStartedAgain(t *testing.T) {
	r := start(t, "runs")
	_ = unix.Kill(r.expect("start 1 of"), unix.SIGUSR2)
	r.expect("signal: user")
	r.expect("start 2 of")
}

// Anybody can send to the keeper's socket.
func TestOnlyTheProgramIsHeard(t *testing.T) {
	r := start(t, "runs")
	pid := r.expect("start 1 of")
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(string(env), "NOTIFY_SOCKET=")
	address, _, _ = strings.Cut(address, "\x00")
	t.Setenv("NOTIFY_SOCKET", address)
	stranger, err := fdstore.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{"STOPPING=1", "FDSTOREREMOVE=1\nFDNAME=count", fmt.Sprint("MAINPID=", os.Getpid()), markText} {
		if err := stranger.Notify(said); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	r.expect("start 2 of")
}
