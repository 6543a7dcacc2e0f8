// Package ipvsadm is IPVS's administration tool for a uvs director: it has the arguments,
// output, messages and exit statuses of ipvsadm 1.31 on Linux 6.1, so that programs that use
// the one can use the other.
//
// A scanner like popt(3) reads the command line (popt.go), the tables of options.go check
// its options, and the resulting commands go to the director through the control API. -L and
// -S print what the director returns; -R reads commands, one a line, and sends them in
// batches. The tool gets everything it uses (names, streams, director) from its caller, so it
// can be tested against recordings of the real one. It is used from one goroutine.
//
// Besides upstream's options there are a few long ones for FULLNAT; the remaining
// differences are listed in docs/differences.md.
package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"uvs/forwarder/config"
)

// Director is what the tool needs of a director; a client.Client is one.
type Director interface {
	Apply(ctx context.Context, commands []config.Command, atomic bool) ([]error, error)
	Services(context.Context) ([]config.ServiceState, error)
	Service(context.Context, config.Key) (config.ServiceState, error)
	Connections(context.Context) iter.Seq2[config.Connection, error]
	Timeouts(context.Context) (config.Timeouts, error)
	SetTimeouts(context.Context, config.Timeouts) error
	Daemons(context.Context) ([]config.Daemon, error)
	StartDaemon(context.Context, config.Daemon) error
	StopDaemon(context.Context, config.DaemonState) error
}

// Tool is one run of ipvsadm. Use it once, from one goroutine.
type Tool struct {
	Program  string // argv[0], for messages
	Director Director
	Names    Names
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer

	out     *bufio.Writer
	pending []config.Command
	last    error // how the last command ended
}

// batch is how many commands of a restore go to the director at a time.
const batch = 5000

// Run runs a command line, without the program's name, and returns the exit status.
func (t *Tool) Run(ctx context.Context, words []string) int {
	t.out = bufio.NewWriter(t.Stdout)
	defer t.out.Flush()
	err := t.run(ctx, words)
	var end *exit
	if !errors.As(err, &end) {
		if flushed := t.flush(ctx); flushed != nil {
			err = flushed
		} else {
			err = t.last
		}
	}
	return t.end(err)
}

// run runs one command line. Its error ends the program.
func (t *Tool) run(ctx context.Context, words []string) error {
	if len(words) == 0 {
		words = []string{"-L"}
	}
	r, err := t.parse(words)
	if err == nil && r.command == cmdRestore {
		return t.restore(ctx)
	}
	return t.perform(ctx, r, err)
}

// perform runs a parsed command, or reports its parse error, after the commands that are
// queued.
func (t *Tool) perform(ctx context.Context, r *request, err error) error {
	if err == nil {
		if c, ok := r.change(); ok {
			t.pending = append(t.pending, c)
			if len(t.pending) >= batch {
				return t.flush(ctx)
			}
			return nil
		}
	}
	if flushed := t.flush(ctx); flushed != nil {
		return flushed
	}
	if err == nil {
		err = t.act(ctx, r)
	}
	t.last = err
	return t.report(err)
}

// report prints a failure, and returns an exit.
func (t *Tool) report(err error) error {
	var end *exit
	if err == nil || errors.As(err, &end) {
		return err
	}
	t.out.Flush()
	io.WriteString(t.Stderr, err.Error())
	return nil
}

// end prints the text of an exit and returns the program's status.
func (t *Tool) end(err error) int {
	if err == nil {
		return statusOK
	}
	var end *exit
	if !errors.As(err, &end) {
		return statusFailed // reported already
	}
	t.out.Flush()
	io.WriteString(t.Stderr, end.text)
	return end.status
}

// change returns the request as a command for the table of services, if it is one.
func (r *request) change() (c config.Command, ok bool) {
	ops := map[option]config.Op{
		cmdAddService: config.OpAddService, cmdEditService: config.OpEditService,
		cmdDeleteService: config.OpDeleteService, cmdFlush: config.OpFlush, cmdZero: config.OpZero,
		cmdAddServer: config.OpAddServer, cmdEditServer: config.OpEditServer,
		cmdDeleteServer: config.OpDeleteServer,
		cmdAddLocal:     config.OpAddLocal, cmdDeleteLocal: config.OpDeleteLocal,
	}
	c.Op, ok = ops[r.command]
	if !ok {
		return c, false
	}
	if r.given.has(optService) {
		service := r.service
		service.Key = service.Key.Normal()
		c.Service = &service
	}
	if r.given.has(optServer) {
		c.Server = &r.server
	}
	if r.given.has(optLocal) {
		c.Local = r.local
	}
	return c, true
}

// flush sends the queued commands and reports those that the director refused.
func (t *Tool) flush(ctx context.Context) error {
	if len(t.pending) == 0 {
		return nil
	}
	commands := t.pending
	t.pending = nil
	errs, err := t.Director.Apply(ctx, commands, false)
	if err != nil {
		t.last = otherFailure(err)
		return t.report(t.last)
	}
	for i, err := range errs {
		t.last = nil
		if err != nil {
			t.last = commandFailure(commands[i].Op, err)
		}
		if err := t.report(t.last); err != nil {
			return err
		}
	}
	return nil
}

// act runs the commands that do not change the table.
func (t *Tool) act(ctx context.Context, r *request) error {
	switch r.command {
	case cmdHelp:
		return t.help()
	case cmdVersion:
		fmt.Fprint(t.out, version)
		return &exit{}
	case cmdSet:
		return otherFailure(t.Director.SetTimeouts(ctx, r.timeouts))
	case cmdStartDaemon:
		return daemonFailure(t.Director.StartDaemon(ctx, r.daemon))
	case cmdStopDaemon:
		return daemonFailure(t.Director.StopDaemon(ctx, r.daemon.State))
	case cmdRestore:
		return t.tryHelp() // a restore within a restore
	}
	return t.show(ctx, r)
}

// show runs the commands that print the director's state.
func (t *Tool) show(ctx context.Context, r *request) error {
	w := &writer{Writer: t.out, tool: t, given: r.given, rules: r.command == cmdSave}
	switch {
	case r.given.has(optConnection):
		return otherFailure(w.connections(t.Director.Connections(ctx)))
	case r.given.has(optTimeout):
		timeouts, err := t.Director.Timeouts(ctx)
		if err == nil {
			w.printf("Timeout (tcp tcpfin udp): %d %d %d\n", timeouts.TCP, timeouts.TCPFin, timeouts.UDP)
		}
		return otherFailure(err)
	case r.given.has(optDaemon):
		daemons, err := t.Director.Daemons(ctx)
		w.daemons(daemons)
		return otherFailure(err)
	}
	return t.showServices(ctx, r, w)
}

func (t *Tool) showServices(ctx context.Context, r *request, w *writer) error {
	print := w.all
	if r.command == cmdListLocal {
		print = w.locals
	}
	if !r.given.has(optService) {
		services, err := t.Director.Services(ctx)
		if err == nil {
			print(services)
		}
		return otherFailure(err)
	}
	v, err := t.Director.Service(ctx, r.service.Key)
	if errors.Is(err, config.ErrNoSuchService) {
		return &exit{statusMissing, "No such service\n"}
	}
	if err != nil {
		return otherFailure(err)
	}
	if r.command == cmdListLocal {
		print([]config.ServiceState{v})
		return nil
	}
	KernelOrder([]config.ServiceState{v})
	w.titles()
	w.service(v)
	return nil
}
