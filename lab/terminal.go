package lab

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// forwarded are the signals that are forwarded to a command in a node.
var forwarded = []os.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
}

// Foreground runs a command on this process's standard streams, but for a standard input
// that it has, and forwards signals to it.
func Foreground(c *Cmd) error {
	if c.Stdin == nil {
		c.Stdin = os.Stdin
	}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	// Before the command exists, so that no signal is lost.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	if err := c.Start(); err != nil {
		return err
	}
	go c.forward(signals)
	return c.Wait()
}

func (c *Cmd) forward(signals <-chan os.Signal) {
	for s := range signals {
		if sig, ok := s.(unix.Signal); ok {
			_ = c.Signal(sig)
		}
	}
}

// Terminal runs a command on a pseudo-terminal that is shown on this process's terminal:
// job control, line editing and window size work as in a local shell. If standard input
// is not a terminal it is [Foreground].
func Terminal(c *Cmd) error {
	stdin := int(os.Stdin.Fd())
	if !term.IsTerminal(stdin) {
		return Foreground(c)
	}
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	defer master.Close()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	_ = pty.InheritSize(os.Stdin, master)
	c.Stdin, c.Stdout, c.Stderr, c.TTY = slave, slave, slave, true
	err = c.Start()
	slave.Close()
	if err != nil {
		return err
	}
	before, err := term.MakeRaw(stdin)
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(stdin, before) }()
	return c.show(master, resized)
}

// show copies between the command's terminal and ours until the command ends.
func (c *Cmd) show(master *os.File, resized <-chan os.Signal) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	go c.forward(signals)
	go func() {
		for range resized {
			_ = pty.InheritSize(os.Stdin, master)
		}
	}()
	stop, err := feed(master)
	if err != nil {
		return err
	}
	defer stop()
	shown := make(chan struct{})
	go func() { _, _ = io.Copy(os.Stdout, master); close(shown) }()
	err = c.Wait()
	// The command's last output may still be on its way. A background process of the
	// shell may keep the terminal open forever.
	select {
	case <-shown:
	case <-time.After(100 * time.Millisecond):
	}
	return err
}

// feed copies our standard input to the command's terminal until it is told to stop. What is
// typed later is left for others to read.
func feed(master *os.File) (stop func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			fds := []unix.PollFd{{Fd: int32(os.Stdin.Fd()), Events: unix.POLLIN}, {Fd: int32(r.Fd()), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) || fds[1].Revents != 0 {
				return
			}
			if fds[0].Revents == 0 {
				continue
			}
			var typed [4096]byte
			n, err := os.Stdin.Read(typed[:])
			if err != nil {
				return
			}
			_, _ = master.Write(typed[:n])
		}
	}()
	return func() {
		w.Close()
		<-ended
		r.Close()
	}, nil
}
