// Package keeper runs a director, keeps its descriptors while it does not run, and starts it
// again when it dies. It is to `uvs director --keep` what systemd is to a unit: it speaks
// the same protocol (package fdstore), and opens nothing itself.
package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/fdstore"
)

// Command is a program with its arguments, of which the first is its name.
type Command struct {
	Path string
	Args []string
	Dir  string   // where it runs; empty: where the keeper does
	Env  []string // nil: that of the keeper
}

// Keeper runs a Command, which it takes for a director.
type Keeper struct {
	Command Command
	Log     *slog.Logger

	store  *fdstore.Store
	inbox  *inbox
	exits  chan exit
	main   process
	deaths int // in a row before it was ready
}

// process is the one that is kept running.
type process struct {
	pid      int
	ready    bool // it said so
	stopping bool // it said that its end is wanted
	replaced bool // by a process that was dead when the keeper heard of it
}

// exit is the end of a process.
type exit struct {
	pid    int
	status int  // as a shell reports it
	known  bool // the status is: the process was a child
}

const (
	// firstDelay and lastDelay bound the time before a program is started again that has
	// ended before it was ready. It doubles. One that was ready is started again at once.
	firstDelay = 50 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// Run runs the program until it ends by itself, or because of SIGTERM or SIGINT, and returns
// its exit status as a shell reports it. All signals that arrive are passed on to it. A
// program that fails before it was ready for the first time is not started again.
func (k *Keeper) Run(signals <-chan os.Signal) (int, error) {
	box, err := openInbox()
	if err != nil {
		return 1, err
	}
	defer box.close()
	k.store, k.inbox, k.exits = fdstore.New(), box, make(chan exit, 1)
	defer k.store.Close()
	if err := k.start(); err != nil {
		return 1, err
	}
	for once := false; ; {
		e, ended := k.watch(signals, &once)
		switch {
		case ended:
			return e.status, nil
		case !once:
			return max(e.status, 1), nil
		}
		if over := k.restart(e, signals); over {
			return 0, nil
		}
	}
}

// watch returns how the program ended, and whether that was wanted. It sets ready once the
// program said that it is.
func (k *Keeper) watch(signals <-chan os.Signal, ready *bool) (exit, bool) {
	wanted := false
	for {
		select {
		case s := <-signals:
			wanted = wanted || s == unix.SIGTERM || s == unix.SIGINT
			k.pass(s)
			*ready = *ready || k.main.ready
		case n := <-k.inbox.notices:
			k.hear(n)
			*ready = *ready || k.main.ready
		case e := <-k.exits:
			k.hearAll() // what it said before it ended
			*ready = *ready || k.main.ready
			if e.pid == k.main.pid {
				return e, wanted || k.main.stopping || e.known && e.status == 0 && !k.main.replaced
			}
		}
	}
}

// pass passes a signal on to the program: to the one that has taken over, if that was said.
func (k *Keeper) pass(s os.Signal) {
	k.hearAll()
	if sig, ok := s.(syscall.Signal); ok && k.main.pid > 0 {
		_ = unix.Kill(k.main.pid, sig)
	}
}

// hear does what a message asks. Only the program itself may ask.
func (k *Keeper) hear(n notice) {
	if n.pid != k.main.pid {
		n.close()
		return
	}
	m := fdstore.ParseMessage(n.text)
	k.main.ready = k.main.ready || m.Ready
	k.main.stopping = k.main.stopping || m.Stopping
	if err := k.store.Hold(m, n.fds); err != nil {
		k.Log.Warn("a descriptor is not kept", "err", err)
	}
	if m.MainPID > 0 && m.MainPID != k.main.pid {
		if err := k.follow(m.MainPID); err != nil {
			k.main.replaced = errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
			k.Log.Warn("the process that takes over is not watched", "pid", m.MainPID, "dead", k.main.replaced, "err", err)
		}
	}
}

// hearAll hears what has been said so far.
func (k *Keeper) hearAll() {
	marked := make(chan error, 1)
	go func() { marked <- k.inbox.mark() }()
	for {
		select {
		case err := <-marked:
			if err != nil {
				return
			}
		case n := <-k.inbox.notices:
			if n.text == markText && n.pid == os.Getpid() {
				return
			}
			k.hear(n)
		}
	}
}

// follow makes another process the one that is kept running. Should it die, its own command
// is started again: it may be of another build.
func (k *Keeper) follow(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	c, err := commandOf(pid)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	k.Command = c
	k.main = process{pid: pid}
	go func() {
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		k.exits <- exit{pid: pid}
	}()
	return nil
}

// restart starts the program again, and reports whether the end is wanted instead.
func (k *Keeper) restart(e exit, signals <-chan os.Signal) (over bool) {
	delay := time.Duration(0)
	if k.deaths++; k.main.ready {
		k.deaths = 0
	}
	for {
		if k.deaths > 0 {
			delay = min(firstDelay<<min(k.deaths-1, 10), lastDelay)
		}
		k.Log.Warn("the director died; starting it again", "pid", e.pid, "status", e.status, "in", delay)
		k.main = process{}
		if k.wait(delay, signals) {
			return true
		}
		err := k.start()
		if err == nil {
			return false
		}
		k.Log.Error("start the director", "err", err)
		k.deaths++
	}
}

// wait waits, and reports whether the end is wanted meanwhile.
func (k *Keeper) wait(d time.Duration, signals <-chan os.Signal) (over bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return false
		case s := <-signals:
			if s == unix.SIGTERM || s == unix.SIGINT {
				return true
			}
		case n := <-k.inbox.notices:
			n.close()
		case <-k.exits: // of a process that was replaced
		}
	}
}

// start starts the program with the descriptors that are kept.
func (k *Keeper) start() error {
	fds, env := k.store.ToChild()
	env = append(env, "NOTIFY_SOCKET="+k.inbox.address)
	own := k.Command.Env
	if own == nil {
		own = os.Environ()
	}
	for _, v := range own {
		if name, _, _ := strings.Cut(v, "="); name != "NOTIFY_SOCKET" && !strings.HasPrefix(name, "LISTEN_") {
			env = append(env, v)
		}
	}
	pid, err := syscall.ForkExec(k.Command.Path, k.Command.Args, &syscall.ProcAttr{
		Dir: k.Command.Dir, Env: env, Files: append([]uintptr{0, 1, 2}, fds...),
	})
	if err != nil {
		return fmt.Errorf("keeper: start %s: %w", k.Command.Path, err)
	}
	k.main = process{pid: pid}
	go func() {
		var status unix.WaitStatus
		for {
			if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		k.exits <- exit{pid, shellStatus(status), true}
	}()
	return nil
}

func shellStatus(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// Signals returns the signals that a keeper passes on: those that end its program, SIGHUP and
// SIGUSR2.
func Signals() <-chan os.Signal {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR2)
	return c
}
