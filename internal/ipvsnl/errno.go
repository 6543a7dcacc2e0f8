package ipvsnl

import (
	"errors"

	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
)

// numbers are the kernel's error numbers for what a director refuses.
var numbers = []struct {
	err    error
	number unix.Errno
}{
	{config.ErrServiceExists, unix.EEXIST},
	{config.ErrNoSuchService, unix.ESRCH},
	{config.ErrServerExists, unix.EEXIST},
	{config.ErrNoSuchServer, unix.ENOENT},
	{config.ErrNoScheduler, unix.ENOENT},
	{config.ErrRange, unix.ERANGE},
	{config.ErrInvalid, unix.EINVAL},
	{config.ErrSynProxy, unix.EINVAL},
	{config.ErrDaemonExists, unix.EEXIST},
	{config.ErrNoDaemon, unix.ESRCH},
	{config.ErrNoDevice, unix.ENODEV},
	{config.ErrRefused, unix.EPERM},
	{client.ErrNoDirector, unix.ENOENT}, // as of a family whose module is not loaded
	{client.ErrNotTrusted, unix.ENOENT},
}

// errnoOf returns the kernel's number for an error. A director that breaks off or does not
// answer in time is as good as none.
func errnoOf(err error) unix.Errno {
	for _, n := range numbers {
		if errors.Is(err, n.err) {
			return n.number
		}
	}
	var number unix.Errno
	var problem *config.Problem
	switch {
	case errors.As(err, &problem):
		return unix.EIO // the director's own trouble: its guard, say
	case errors.As(err, &number) && number != unix.ECONNRESET && number != unix.EPIPE:
		return number
	}
	return unix.ENOENT
}
