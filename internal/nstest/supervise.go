package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Supervise runs the tests of m in a third process and returns the exit status. When that
// process or go test has ended, for whatever reason, the second process ends those that the
// tests started and removes their temporary files. A package that needs no namespace for
// itself, but starts processes, has
//
//	func TestMain(m *testing.M) { os.Exit(nstest.Supervise(m)) }
func Supervise(m *testing.M) int {
	code, err := runStage(m, reexec("tests"), func() error { return nil })
	if err != nil {
		fmt.Fprintln(os.Stderr, "nstest:", err)
	}
	return code
}

// runStage is what a test binary does as the first, second or third process: it relays
// signals, supervises the third process, or runs the tests once ready has returned. err
// says why the tests ran in a process other than the third.
func runStage(m *testing.M, third *exec.Cmd, ready func() error) (code int, err error) {
	switch os.Getenv(process) {
	case "tests":
		errRefused = ready()
		return m.Run(), nil
	case "supervisor":
		code, err = supervise(third)
	default:
		code, err = relay(reexec("supervisor"))
	}
	if err != nil {
		errRefused = err
		return m.Run(), err
	}
	return code, nil
}

// relay runs the supervisor in a process group of its own, so that it survives when go
// test's group is killed, and forwards signals to it. When this process ends, the kernel
// sends the supervisor SIGTERM.
func relay(cmd *exec.Cmd) (code int, err error) {
	runtime.LockOSThread() // Pdeathsig and PR_SET_PDEATHSIG watch the thread, not the process
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return 0, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return run(cmd, signals, func(s os.Signal) { _ = cmd.Process.Signal(s) })
}

// reexec returns the command that runs this process again as the named one. It is killed
// when this process ends.
func reexec(name string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), process+"="+name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// supervise runs a command and returns its exit status, or why it could not be started. The
// kernel sends SIGTERM when the first process has ended.
func supervise(cmd *exec.Cmd) (code int, err error) {
	runtime.LockOSThread() // as in relay
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "uvs") // a short name, because it is part of socket paths
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	defer endOrphans()
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	var killedBy os.Signal
	code, err = run(cmd, signals, func(s os.Signal) {
		killedBy = s
		_ = cmd.Process.Kill()
	})
	if killedBy != nil {
		code = 128 + int(killedBy.(syscall.Signal))
	}
	return code, err
}

// run runs a command and returns its exit status, or why it could not be started. It
// calls signalled for each signal that arrives, and waits for orphans that have ended.
func run(cmd *exec.Cmd, signals <-chan os.Signal, signalled func(os.Signal)) (code int, err error) {
	orphans := make(chan os.Signal, 1)
	signal.Notify(orphans, unix.SIGCHLD)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return exitStatus(err), nil
		case <-orphans:
			reapOrphans(cmd.Process.Pid)
		case s := <-signals:
			signalled(s)
		}
	}
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "nstest:", err)
	return 1
}

// reapOrphans waits for children that have ended, except the process main, as init would:
// tests check whether a process has ended.
func reapOrphans(main int) {
	for _, pid := range children() {
		if pid != main {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// endOrphans kills the orphans that are left, and those that appear when they end. This
// process is their parent because it is their subreaper (prctl(2)).
func endOrphans() {
	for all := children(); len(all) > 0; all = children() {
		for _, pid := range all {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}
}

// children returns the process numbers of this process's children, of all of
// its threads.
func children() (all []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}
