// Package lab builds networks of nodes on one machine: a client, a director,
// real servers, routers, each in a network namespace, to see a virtual server
// work, to test it and to measure it.
//
// A lab needs no clean-up. [Start] starts the calling program again as a supervisor,
// the first process of its own process, network, mount, host name and IPC namespaces
// (and of a user namespace, for a plain user). Everything in the lab belongs to that
// process: nodes are threads of it in unnamed network namespaces, links and bridges
// are in those, files on a tmpfs of its mount namespace, and every command in a node
// is its child. When it ends, by [Lab.Close], by SIGKILL or because the starter died
// before detaching the lab, the kernel frees everything; there is no state on disk
// that could be out of date.
//
// Others reach a lab through an abstract unix socket, @uvs-lab/UID/NAME, in
// the network namespace it was started in; where somebody else holds that name,
// under one that begins with it. The starter listens before the
// supervisor exists, so a name is taken in one step, and passes the descriptor.
// Only user 0 of the supervisor's user namespace is served: root for root's
// lab, the owner for a plain user's.
//
// Commands run in a node with the caller's own descriptors as standard input
// and output ([Lab.Command]), and a program outside can hold sockets of a node
// ([Lab.Dial]).
package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// Lab is a running lab. Its methods are safe for concurrent use.
type Lab struct {
	Name     string
	Topology Topology

	socket  string
	control *net.UnixConn // open while this process owns the lab
	child   *exec.Cmd     // the supervisor, if this process started it
}

// Config says how to start a lab. The zero value works.
type Config struct {
	// Name by which others find the lab. Empty: the topology's, with a number
	// appended if that is in use.
	Name string
	// Program is the uvs binary that nodes run as director, web server and
	// ipvsadm; empty is the calling program itself.
	Program string
}

// Start builds a lab and returns when all of it is ready: interfaces are up, servers
// listen, the director is configured. The lab ends with [Lab.Close] or with the calling
// process, unless that calls [Lab.Detach]. The program must call [Main] first.
func Start(t Topology, cfg Config) (*Lab, error) {
	if !mainCalled {
		return nil, errors.New("lab: the program cannot be a supervisor: it does not call lab.Main")
	}
	if err := errors.Join(t.check(), t.HowToGetKeepalived()); err != nil {
		return nil, err
	}
	if cfg.Program == "" {
		cfg.Program = ownProgram()
	}
	listener, name, err := claim(cfg.Name, t.Name)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	l := &Lab{Name: name, Topology: t, socket: listener.Addr().String()}
	if err := l.spawn(listener, cfg.Program); err != nil {
		return nil, err
	}
	return l, nil
}

// ownProgram is the path of the running binary, or the kernel's link to it if
// its file has been removed.
func ownProgram() string {
	if path, err := os.Executable(); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return "/proc/self/exe"
}

// spawn starts the supervisor and waits until the lab is ready.
func (l *Lab) spawn(listener *net.UnixListener, program string) error {
	lf, err := listener.File()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer lf.Close()
	theirs, err := l.controlPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	if l.child, err = startSupervisor(l.Name, theirs, lf); err != nil {
		l.control.Close()
		return err
	}
	theirs.Close()
	m := startMessage{Name: l.Name, PID: l.child.Process.Pid, Program: program, Session: CurrentSession(), Topology: l.Topology}
	if err := l.handshake(m); err != nil {
		l.control.Close()
		_ = l.child.Wait()
		return err
	}
	return nil
}

// controlPair makes the control connection and returns the supervisor's end of it.
func (l *Lab) controlPair() (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: socketpair: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "control")
	defer ours.Close()
	theirs := os.NewFile(uintptr(fds[1]), "control")
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("lab: %w", err)
	}
	l.control = c.(*net.UnixConn)
	return theirs, nil
}

// handshake sends the topology and waits until the lab is ready.
func (l *Lab) handshake(m startMessage) error {
	if err := json.NewEncoder(l.control).Encode(m); err != nil {
		return fmt.Errorf("lab: supervisor: %w", err)
	}
	var a answer
	if err := json.NewDecoder(l.control).Decode(&a); err != nil {
		return explainDenied(fmt.Errorf("lab: the supervisor ended: %w", err))
	}
	if a.Denied {
		return explainDenied(errors.New(a.Error))
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

// Detach keeps the lab running after this process ends.
func (l *Lab) Detach() error {
	if l.control == nil {
		return nil
	}
	if err := json.NewEncoder(l.control).Encode(startMessage{Detach: true}); err != nil {
		return fmt.Errorf("lab: detach: %w", err)
	}
	return l.control.Close()
}

// Close takes the lab down and returns when nothing of it is left: no process, and so
// no namespace, link or mount.
func (l *Lab) Close() error {
	_, files, err := call(l.socket, request{Op: opDown})
	defer closeAll(files)
	if l.control != nil {
		l.control.Close()
	}
	if err == nil && len(files) == 1 {
		err = awaitEnd(int(files[0].Fd()))
	}
	if l.child != nil {
		_ = l.child.Wait()
		return nil
	}
	return err
}

// AwaitEnd returns when the lab has ended. It is for the process that started the lab.
func (l *Lab) AwaitEnd() error {
	if l.child == nil {
		return errors.New("lab: it was started by another process")
	}
	fd, err := unix.PidfdOpen(l.child.Process.Pid, 0)
	if err != nil {
		return fmt.Errorf("lab: pidfd: %w", err)
	}
	defer unix.Close(fd)
	return awaitEnd(fd)
}

// Lifeline returns a descriptor that becomes readable (poll(2)) when the lab is gone. Who
// keeps sockets of nodes must close them then: they keep the nodes' networks. The caller
// closes it.
func (l *Lab) Lifeline() (*os.File, error) {
	_, files, err := call(l.socket, request{Op: opLife})
	if err != nil {
		closeAll(files)
		return nil, err
	}
	if len(files) != 1 {
		closeAll(files)
		return nil, errors.New("lab: no descriptor came")
	}
	return files[0], nil
}

// awaitEnd waits until the process of a pidfd has ended, and with it all processes of
// the lab (pid_namespaces(7): they are killed before the first process is reported as
// ended).
func awaitEnd(pidfd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Attach finds a running lab of this user by name; without a name, the newest one that
// does not need to be named.
func Attach(name string) (*Lab, error) {
	if s := os.Getenv(envSocket); s != "" && (name == "" || name == os.Getenv(envLab)) {
		return attach(s) // inside a node: its own lab
	}
	if name != "" {
		return attach(find(name))
	}
	infos, err := List()
	if err != nil {
		return nil, err
	}
	infos = slices.DeleteFunc(infos, func(in *Info) bool { return in.Topology.ByName })
	if len(infos) == 0 {
		return nil, errors.New("no lab of yours is running" + others() + "; start one with: uvs lab up nat")
	}
	newest := infos[len(infos)-1]
	return &Lab{Name: newest.Name, Topology: newest.Topology, socket: find(newest.Name)}, nil
}

// Own returns the lab in a node of which the calling process is, nil if it is in none. The lab is not
// asked, and its topology not known: it answers [Lab.Info] once it is built, and services that it
// starts run before.
func Own() *Lab {
	if !Inside() {
		return nil
	}
	return &Lab{Name: os.Getenv(envLab), socket: os.Getenv(envSocket)}
}

// Inside reports whether the calling process is in a node of a lab.
func Inside() bool { return os.Getenv(envSocket) != "" }

func attach(socket string) (*Lab, error) {
	in, err := info(socket)
	if err != nil {
		return nil, err
	}
	return &Lab{Name: in.Name, Topology: in.Topology, socket: socket}, nil
}

// Info asks the lab about itself.
func (l *Lab) Info() (*Info, error) { return info(l.socket) }

func info(socket string) (*Info, error) {
	a, files, err := call(socket, request{Op: opInfo})
	closeAll(files)
	if err != nil {
		return nil, err
	}
	if a.Info == nil {
		return nil, errors.New("lab: empty answer")
	}
	return a.Info, nil
}

// Kill ends the services of a node with SIGKILL: a web server or a director
// that crashes. The node's network stays.
func (l *Lab) Kill(node string) error { return l.send(request{Op: opKill, Node: node}) }

// StartServices starts the services of a node that are not running, and waits until
// they answer. A director comes back with the services and connections it had, unless
// it runs without a state.
func (l *Lab) StartServices(node string) error { return l.send(request{Op: opStart, Node: node}) }

// Crash ends the process of a service with SIGKILL: of a director under a keeper, the
// director alone.
func (l *Lab) Crash(node, service string) error {
	return l.send(request{Op: opCrash, Node: node, Name: service})
}

// Cable pulls the cable of a node's interface ("eth0"), so that it has no carrier, or puts it
// in.
func (l *Lab) Cable(node, iface string, up bool) error {
	return l.send(request{Op: opCable, Node: node, Name: iface, Up: up})
}

// Fail is what a power failure is to a node: its cables are dead, all of its processes are
// killed, and what it had in memory is gone.
func (l *Lab) Fail(node string) error { return l.send(request{Op: opFail, Node: node}) }

// Return brings back a node that failed: it starts like the first time.
func (l *Lab) Return(node string) error { return l.send(request{Op: opReturn, Node: node}) }

func (l *Lab) send(r request) error {
	_, files, err := call(l.socket, r)
	closeAll(files)
	return err
}

// Logs returns the last output of a node's services.
func (l *Lab) Logs(node string) (string, error) {
	a, files, err := call(l.socket, request{Op: opLogs, Node: node})
	closeAll(files)
	return a.Text, err
}
