package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
)

// startLimit is how long a director may take to answer.
const startLimit = 10 * time.Second

// startDirector starts a director in the background, in a session of its own
// and with no terminal, and returns when one answers on the socket: this one,
// or one that another command started at the same time.
func startDirector(ctx context.Context, socket string) error {
	return startDirectorFor(ctx, client.New(socket))
}

// startDirectorFor is startDirector with the client that is to reach the director. It must be
// called where the director is to run: in its network namespace.
func startDirectorFor(ctx context.Context, c *client.Client) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start a director: %w", err)
	}
	cmd := &exec.Cmd{
		Path: self,
		Args: []string{"uvs", "director", "--background", "--socket", c.Socket()}, // whatever the binary is called
		Dir:  "/",
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a director: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err = awaitDirector(ctx, c, ended)
	if errors.Is(err, errEnded) {
		return fmt.Errorf("%w: %s", err, lastLine(said.String()))
	}
	return err
}

// disconnected reports whether the listener ended before it answered: a director
// that cannot start listens before it knows that.
func disconnected(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// errEnded is the error of awaitDirector if the director that was started has ended and no
// other one answers.
var errEnded = errors.New("the director that was started ended")

// lastLine returns the last line that a director which could not start has printed.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "uvs: ")
}

// discardStderr discards standard error, whose reader is about to end.
func discardStderr() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		_ = unix.Dup3(int(null.Fd()), int(os.Stderr.Fd()), 0)
		null.Close()
	}
}

// awaitDirector returns when a director answers. Somebody who has bound its name without
// being one does not end the wait: root's then answers under another. If the one
// that was started ends instead, somebody else's may be about to answer: it gets a
// last chance.
func awaitDirector(ctx context.Context, c *client.Client, ended <-chan error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := c.About(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, client.ErrNoDirector) && !errors.Is(err, client.ErrNotTrusted) && !disconnected(err) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.New("the director that was started does not answer")
		case err := <-ended:
			if _, about := c.About(ctx); about != nil {
				return fmt.Errorf("%w (%w)", errEnded, err)
			}
			return nil
		}
	}
}
