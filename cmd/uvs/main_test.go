package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/internal/nstest"
	"uvs/internal/rules"
	"uvs/lab"
)

// inNamespace runs the tests in a network namespace of their own, where they
// can start directors.
type inNamespace struct{ *testing.M }

func (m inNamespace) Run() int { return nstest.Run(m.M) }

func TestMain(m *testing.M) {
	lab.Main()
	commands := map[string]func(){"uvs": main, "ipvsadm": main, "ipvsadm-save": main, "ipvsadm-restore": main}
	if commands[filepath.Base(os.Args[0])] == nil && !nstest.Inside() {
		os.Exit(nstest.Run(m)) // which comes here again, in the namespace
	}
	testscript.Main(inNamespace{m}, commands)
}

func TestScripts(t *testing.T) {
	nstest.Need(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			socket := filepath.Join(env.WorkDir, "socket")
			env.Setenv("UVS_SOCKET", socket)
			env.Defer(func() {
				signalDirector(socket, syscall.SIGKILL)
				_ = exec.Command("uvs", "lab", "down", "--all").Run()
			})
			return ownNamespace()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await-director": awaitScripted,
			"await-rules":    awaitRules,
			"await-stdout":   awaitStdout,
			"signal":         signalScripted,
			"elsewhere":      elsewhere,
			"terminal":       onTerminal,
		},
	})
}

// ownNamespace gives the script's goroutine, and so the commands it starts, a
// network namespace where its director is alone. Its thread ends with it.
func ownNamespace() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// awaitScripted waits until a director answers on the script's socket or, with
// "!", until none does.
func awaitScripted(ts *testscript.TestScript, none bool, _ []string) {
	c := client.New(ts.Getenv("UVS_SOCKET"))
	within(ts, "the director", func() bool {
		_, err := c.About(context.Background())
		return (err != nil) == none
	})
}

// awaitRules waits until the director's rules are those of a file, comments
// aside: await-rules FILE.
func awaitRules(ts *testscript.TestScript, _ bool, args []string) {
	wanted, err := readRules(ts.MkAbs(args[0]))
	ts.Check(err)
	c := client.New(ts.Getenv("UVS_SOCKET"))
	within(ts, args[0], func() bool {
		current, err := rules.Of(context.Background(), c)
		return err == nil && len(rules.Diff(current, wanted).Lines()) == 0
	})
}

// awaitStdout waits until a command's output matches a regular expression: await-stdout
// PATTERN COMMAND...
func awaitStdout(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	within(ts, strings.Join(args, " "), func() bool {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), "UVS_SOCKET="+ts.Getenv("UVS_SOCKET"))
		out, err := cmd.Output()
		return err == nil && pattern.Match(out)
	})
}

// signalScripted sends the director a signal: signal HUP|TERM|KILL.
func signalScripted(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if err := signalDirector(ts.Getenv("UVS_SOCKET"), signals[args[0]]); err != nil {
		ts.Fatalf("%v", err)
	}
}

// elsewhere runs a command in a session of its own, as another terminal's, with
// no terminal: elsewhere COMMAND...
func elsewhere(ts *testscript.TestScript, fails bool, args []string) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	if err := cmd.Run(); (err != nil) != fails {
		ts.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
}

// onTerminal runs a command on a terminal of its own, types a line, and prints
// what the terminal shows: terminal LINE COMMAND...
func onTerminal(ts *testscript.TestScript, fails bool, args []string) {
	cmd := exec.Command(args[1], args[2:]...)
	tty, err := pty.Start(cmd)
	ts.Check(err)
	defer tty.Close()
	_, err = io.WriteString(tty, args[0]+"\n")
	ts.Check(err)
	_, _ = io.Copy(ts.Stdout(), tty) // ends with an error when the terminal does
	if err := cmd.Wait(); (err != nil) != fails {
		ts.Fatalf("%s: %v", strings.Join(args[1:], " "), err)
	}
}

// signalDirector sends a signal to the director that answers on a socket.
func signalDirector(socket string, s syscall.Signal) error {
	about, err := client.New(socket).About(context.Background())
	if err != nil {
		return err
	}
	return syscall.Kill(about.PID, s)
}

func within(ts *testscript.TestScript, what string, ok func() bool) {
	for limit := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			ts.Fatalf("waited 20 s for %s", what)
		}
	}
}
