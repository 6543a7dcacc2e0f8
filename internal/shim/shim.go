// Package shim runs programs made for the kernel's IPVS, unchanged, with a director in its
// place. Such a program asks for a generic netlink socket and sends messages of the family
// IPVS; a seccomp filter with a listener (seccomp_unotify(2)) has both answered by a
// supervisor. No module, no preloaded library and no privilege is needed.
//
// Exec turns the calling process into the program, so its process ID, signals, exit status,
// process group and terminal are as without a shim. The supervisor is another process, in a
// session of its own. It lives as long as any process under the filter, which all
// that the program starts inherit.
//
// A generic netlink socket of the program is one of NETLINK_USERSOCK that the supervisor
// made. Its queue is the kernel's, so waiting, reading, binding and closing cost nothing. It
// gets a descriptor from a range that programs hardly use, and the filter stops only those
// sends that are on a descriptor of this range: others stay in the kernel. What the program
// sends, the supervisor reads from its memory, and the answers it sends to the socket.
package shim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"uvs/internal/ipvsnl"
	"uvs/internal/proc"
)

// Dial returns a director for programs in a network namespace. What it does there, to connect
// or to start a director, it does by in, which may be called from any goroutine and runs a
// function in the namespace.
type Dial func(in func(func() error) error) Director

// Director is what the programs ask; a client.Client is one.
type Director interface {
	ipvsnl.Director
	proc.Director
}

// envSupervisor marks a process that is to be a supervisor, or to start one.
const envSupervisor = "UVS_SHIM_SUPERVISOR"

// Main is called first in main of a program that uses Exec. In a process that Exec has
// started it does not return.
func Main(dial Dial) {
	stage := os.Getenv(envSupervisor)
	if stage == "" {
		return
	}
	os.Unsetenv(envSupervisor)
	if stage == "start" {
		if err := startFromNothing(); err != nil {
			fmt.Fprintln(os.Stderr, "uvs:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	signals()
	if err := superviseFrom(fdHandover, dial); err != nil {
		fmt.Fprintln(os.Stderr, "uvs: shim:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fdHandover is the supervisor's end of the connection to the process that becomes the program.
const fdHandover = 3

// Exec becomes the program at path. It returns only with an error. It must be called on
// the thread that is locked to the main goroutine since the process began. With files, IPVS's
// files in /proc/net are there for the program, and each file that it opens costs a question to
// the supervisor.
func Exec(path string, argv, env []string, files bool) error {
	runtime.LockOSThread()
	if shimmed() {
		return syscall.Exec(path, argv, env)
	}
	if err := roomForSockets(); err != nil {
		return err
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("shim: connect to the supervisor: %w", err)
	}
	err = startSupervisor("start", ends[1])
	unix.Close(ends[1])
	if err != nil {
		return err
	}
	parts := sockets
	if files {
		parts = append(slices.Clone(parts), opens)
	}
	listener, err := install(assemble(parts...))
	if err != nil {
		return err
	}
	if err := handOver(ends[0], listener); err != nil {
		return err
	}
	unix.Close(listener)
	return syscall.Exec(path, argv, env)
}

// shimmed reports whether this process is under a shim already, whose supervisor then serves
// the program as well.
func shimmed() bool {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return fd >= firstFD
}

// roomForSockets reports a limit of descriptors below those of the shim's sockets.
func roomForSockets() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("shim: %w", err)
	}
	if limit.Max < lastFD+1 {
		return fmt.Errorf("shim: the limit of open files is %d, it must be %d or more (ulimit -n)", limit.Max, lastFD+1)
	}
	return nil
}

// startSupervisor runs this binary again with one end of the connection, in a session of its
// own, and waits for its end if it is only to start the next: the program must not find a
// child that it has not started.
func startSupervisor(stage string, fd int) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("shim: start the supervisor: %w", err)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("shim: start the supervisor: %w", err)
	}
	end := os.NewFile(uintptr(dup), "handover")
	defer end.Close()
	cmd := &exec.Cmd{
		Path: self, Args: []string{"uvs", "shim", "(supervisor)"}, Dir: "/",
		Env: append(os.Environ(), envSupervisor+"="+stage), ExtraFiles: []*os.File{end},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if stage == "start" {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("shim: start the supervisor: %w", err)
	}
	if stage == "serve" {
		return nil
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("shim: start the supervisor: %w", err)
	}
	return nil
}

// startFromNothing starts the supervisor without the descriptors that the caller has left open: it would
// hold a pipe or a lock as long as it lives.
func startFromNothing() error {
	if err := unix.CloseRange(fdHandover+1, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("shim: leave the caller's files: %w", err)
	}
	return startSupervisor("serve", fdHandover)
}

// handOver gives the supervisor the listener and waits until it serves.
func handOver(fd, listener int) error {
	defer unix.Close(fd)
	buf := make([]byte, 512)
	n, err := unix.Read(fd, buf) // its process ID
	if err == nil && n == 4 {
		// Where Yama restricts ptrace(2) to ancestors, this lets the supervisor read the program's messages.
		_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(native.Uint32(buf)), 0, 0, 0)
		err = unix.Sendmsg(fd, []byte{0}, unix.UnixRights(listener), nil, 0)
	}
	if err == nil {
		n, err = unix.Read(fd, buf)
	}
	switch {
	case err != nil:
		return fmt.Errorf("shim: hand over to the supervisor: %w", err)
	case n == 0:
		return errors.New("shim: the supervisor ended before it served")
	case string(buf[:n]) != served:
		return errors.New("shim: " + string(buf[:n]))
	}
	return nil
}

// served is what a supervisor says when it serves. Anything else is why it cannot.
const served = "served"

// superviseFrom takes the listener from the other end of a connection and serves it.
func superviseFrom(fd int, dial Dial) error {
	if err := unix.Sendto(fd, native.AppendUint32(nil, uint32(os.Getpid())), 0, nil); err != nil {
		return err
	}
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return err // the other end gave up, and says why
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	s, err := newSupervisor(fds[0], dial)
	said := served
	if err != nil {
		said = err.Error()
	}
	err = errors.Join(err, unix.Sendto(fd, []byte(said), 0, nil))
	unix.Close(fd)
	if err != nil {
		return err
	}
	return s.serve(context.Background())
}
