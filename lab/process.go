package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for every process of the lab. As the first process of the process
// namespace the supervisor inherits orphans, so it waits for any child and passes the
// status on to the goroutine that started it.
type reaper struct {
	mu    sync.Mutex
	alive map[int]*process
}

// process is a running command of a node.
type process struct {
	reaper *reaper
	pid    int
	exited chan struct{} // closed when status is set
	status unix.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{alive: map[int]*process{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	go func() {
		for range died {
			r.reap()
		}
	}()
	return r
}

// reap collects all processes that have ended so far: one SIGCHLD may stand for many.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if p := r.alive[pid]; p != nil {
			delete(r.alive, pid)
			p.status = status
			close(p.exited)
		}
	}
}

// start runs argv on the node as the leader of a new session. With tty its standard
// input becomes the controlling terminal. The lock keeps the reaper from collecting the
// child before it is registered.
func (r *reaper) start(h *host, argv, env []string, dir string, stdio []*os.File, tty bool) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &process{reaper: r, exited: make(chan struct{})}
	err := h.try(func() error {
		path, err := lookPath(argv[0], env, dir)
		if err != nil {
			return err
		}
		if _, err := os.Stat(dir); err != nil {
			dir = "/"
		}
		child, err := os.StartProcess(path, argv, &os.ProcAttr{
			Dir: dir, Env: env, Files: stdio,
			Sys: &syscall.SysProcAttr{Setsid: true, Setctty: tty},
		})
		if err != nil {
			return err
		}
		p.pid = child.Pid
		return child.Release()
	})
	if err != nil {
		return nil, err
	}
	r.alive[p.pid] = p
	return p, nil
}

// signal sends a signal to the process's group, unless the process has been waited for:
// its number may be another's by now.
func (p *process) signal(sig unix.Signal) {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.alive[p.pid] == p {
		_ = unix.Kill(-p.pid, sig)
	}
}

// wait returns the exit status as a shell reports it: 128 plus the signal's number for
// a process that a signal ended.
func (p *process) wait() int {
	<-p.exited
	if p.status.Signaled() {
		return 128 + int(p.status.Signal())
	}
	return p.status.ExitStatus()
}

// lookPath finds a program as execvp(3) does, in the PATH of env, which is
// not the supervisor's own.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	for _, d := range filepath.SplitList(getenv(env, "PATH")) {
		if p := filepath.Join(d, name); executable(p) == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, errNoCommand)
}

var errNoCommand = errors.New("command not found")

func executable(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.IsDir() || st.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "exec", Path: path, Err: unix.EACCES}
	}
	return nil
}

// exitCode returns a shell's status for a command that did not start.
func exitCode(err error) int {
	if errors.Is(err, errNoCommand) || errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}
