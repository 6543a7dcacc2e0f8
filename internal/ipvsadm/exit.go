package ipvsadm

import (
	"errors"
	"fmt"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
)

// Exit statuses of ipvsadm.
const (
	statusOK      = 0
	statusMissing = 1   // the service to list does not exist
	statusUsage   = 2   // the arguments are not a valid command
	statusFailed  = 255 // an unknown argument, or a command that the director refuses
)

// exit ends the program, also in the middle of a restore.
type exit struct {
	status int
	text   string // for standard error, with its newline
}

func (e *exit) Error() string { return e.text }

// fail returns an exit with a message about invalid arguments.
func fail(format string, args ...any) error {
	return &exit{statusUsage, fmt.Sprintf(format, args...) + "\n"}
}

// tryHelp returns the exit for an unknown command.
func (t *Tool) tryHelp() error {
	return &exit{statusFailed, fmt.Sprintf("Try `%s -h' or '%s --help' for more information.\n", t.Program, t.Program)}
}

// failure is the message of a command that failed. A restore goes on after it.
type failure string

func (f failure) Error() string { return string(f) + "\n" }

// commandFailure returns ipvsadm's message for a command that a director refused.
func commandFailure(op config.Op, err error) error {
	ofServer := op == config.OpAddServer || op == config.OpEditServer || op == config.OpDeleteServer
	switch {
	case errors.Is(err, config.ErrServiceExists):
		return failure("Service already exists")
	case errors.Is(err, config.ErrNoSuchService) && ofServer:
		return failure("Service not defined")
	case errors.Is(err, config.ErrNoSuchService):
		return failure("No such service")
	case errors.Is(err, config.ErrServerExists):
		return failure("Destination already exists")
	case errors.Is(err, config.ErrNoSuchServer):
		return failure("No such destination")
	case errors.Is(err, config.ErrNoScheduler):
		return failure("Scheduler or persistence engine not found")
	case errors.Is(err, config.ErrRange):
		return failure("Numerical result out of range")
	case errors.Is(err, config.ErrLocalExists):
		return failure("Local address already exists")
	case errors.Is(err, config.ErrNoSuchLocal):
		return failure("No such local address")
	}
	return otherFailure(err)
}

// daemonFailure is commandFailure for the synchronization daemons.
func daemonFailure(err error) error {
	switch {
	case errors.Is(err, config.ErrDaemonExists):
		return failure("Daemon has already run")
	case errors.Is(err, config.ErrNoDaemon):
		return failure("No daemon is running")
	case errors.Is(err, config.ErrNoDevice):
		return failure("No such device")
	}
	return otherFailure(err)
}

func otherFailure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, config.ErrInvalid):
		return failure("Invalid operation.  Possibly wrong module version, address not unicast, ...")
	case errors.Is(err, config.ErrRefused):
		return fail("Can't initialize ipvs: Permission denied (you must be root)")
	case errors.Is(err, client.ErrNoDirector):
		return fail("Can't initialize ipvs: %s\nIs `uvs director' running in this network namespace?", err)
	}
	return failure(err.Error())
}
