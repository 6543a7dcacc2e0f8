package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Cmd is a command to run in a node. It is used like an [exec.Cmd]: set the
// streams, then Run, or Start and Wait. A nil stream is /dev/null; an *os.File
// is handed to the command itself, anything else is copied.
type Cmd struct {
	Node   string
	Args   []string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Env    []string // the caller's if nil; PATH is completed in either case
	Dir    string   // the caller's if empty
	TTY    bool     // stdin is a terminal that becomes the command's own

	lab      *Lab
	conn     *net.UnixConn
	messages *json.Decoder
	writing  sync.Mutex // signals come from any goroutine
	opened   []*os.File // to close once the command has them
	kept     []*os.File // our ends of pipes
	copies   sync.WaitGroup
}

// ExitError is the error of a command with an exit status other than 0. As in a
// shell it is 127 for a command that is not found, 126 for one that cannot be run,
// and 128 plus the signal's number for one that was killed.
type ExitError struct {
	Code   int
	Stderr string // what Exec and Output caught
}

func (e *ExitError) Error() string {
	if s := strings.TrimSpace(e.Stderr); s != "" {
		return fmt.Sprintf("exit status %d: %s", e.Code, s)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Command returns a command to run in a node.
func (l *Lab) Command(node string, argv ...string) *Cmd {
	return &Cmd{Node: node, Args: argv, lab: l}
}

// Exec runs a command in a node and returns what it printed on standard
// output. The error of a command that failed holds what it printed on
// standard error.
func (l *Lab) Exec(node string, argv ...string) (string, error) {
	return l.Command(node, argv...).Output()
}

// Output runs the command and returns its standard output.
func (c *Cmd) Output() (string, error) {
	var out, errs bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &errs
	}
	err := c.Run()
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Stderr = errs.String()
		err = fmt.Errorf("%s: %s: %w", c.Node, strings.Join(c.Args, " "), exit)
	}
	return out.String(), err
}

// Run starts the command and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Start starts the command. An error of type [*ExitError] says that it could
// not be run; any other, that the lab could not be reached.
func (c *Cmd) Start() (err error) {
	defer func() {
		closeAll(c.opened)
		if err != nil {
			closeAll(c.kept)
			c.copies.Wait()
		}
	}()
	stdio, err := c.streams()
	if err != nil {
		return err
	}
	if c.conn, err = dialLab(c.lab.socket); err != nil {
		return err
	}
	c.messages = json.NewDecoder(c.conn)
	a, got, err := ask(c.conn, c.messages, request{Op: opExec, Node: c.Node, Exec: c.request()}, stdio...)
	closeAll(got)
	if err != nil {
		c.conn.Close()
		if a.Exit != nil {
			return &ExitError{Code: *a.Exit, Stderr: err.Error()}
		}
		return err
	}
	return nil
}

func (c *Cmd) request() *execRequest {
	r := &execRequest{Argv: c.Args, Env: c.Env, Dir: c.Dir, TTY: c.TTY}
	if r.Env == nil {
		r.Env = os.Environ()
	}
	if r.Dir == "" {
		r.Dir, _ = os.Getwd()
	}
	return r
}

// Wait returns when the command has ended and its output has been copied.
func (c *Cmd) Wait() error {
	defer c.conn.Close()
	var a answer
	err := c.messages.Decode(&a)
	c.copies.Wait()
	closeAll(c.kept)
	if err != nil || a.Exit == nil {
		return errors.New("lab: the lab has ended")
	}
	if *a.Exit != 0 {
		return &ExitError{Code: *a.Exit}
	}
	return nil
}

// Signal sends a signal to the command's process group.
func (c *Cmd) Signal(s unix.Signal) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return json.NewEncoder(c.conn).Encode(signalMessage{Signal: int(s)})
}

// streams returns the descriptors to send: files as they are, pipes for streams that
// are copied.
func (c *Cmd) streams() ([]*os.File, error) {
	in, err := c.input()
	if err != nil {
		return nil, err
	}
	out, err := c.output(c.Stdout)
	if err != nil {
		return nil, err
	}
	if c.Stderr != nil && c.Stderr == c.Stdout {
		return []*os.File{in, out, out}, nil
	}
	errs, err := c.output(c.Stderr)
	return []*os.File{in, out, errs}, err
}

func (c *Cmd) input() (*os.File, error) {
	if f, ok := c.Stdin.(*os.File); ok {
		return f, nil
	}
	if c.Stdin == nil {
		return c.null()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.opened = append(c.opened, r)
	// Not waited for: a command need not read its input to the end.
	go func() {
		_, _ = io.Copy(w, c.Stdin)
		w.Close()
	}()
	return r, nil
}

func (c *Cmd) output(to io.Writer) (*os.File, error) {
	if f, ok := to.(*os.File); ok {
		return f, nil
	}
	if to == nil {
		return c.null()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.opened, c.kept = append(c.opened, w), append(c.kept, r)
	c.copies.Go(func() { _, _ = io.Copy(to, r) })
	return w, nil
}

func (c *Cmd) null() (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		c.opened = append(c.opened, f)
	}
	return f, err
}
