package config

import "errors"

// What a director refuses, with the kernel's error number in the comment.
// ipvsadm's texts for them depend on the command and are the business of the
// command line. Test for them with errors.Is: they come wrapped.
var (
	ErrServiceExists = errors.New("service exists")                          // EEXIST
	ErrNoSuchService = errors.New("no such service")                         // ESRCH
	ErrServerExists  = errors.New("real server exists")                      // EEXIST
	ErrNoSuchServer  = errors.New("no such real server")                     // ENOENT
	ErrNoScheduler   = errors.New("no such scheduler or persistence engine") // ENOENT
	ErrRange         = errors.New("value out of range")                      // ERANGE
	ErrInvalid       = errors.New("invalid value")                           // EINVAL
	ErrLocalExists   = errors.New("local address exists")                    // EEXIST
	ErrNoSuchLocal   = errors.New("no such local address")                   // ENOENT
	ErrNoSuchMark    = errors.New("no such mark rule")                       // ENOENT, as iptables -D
	ErrNoTrace       = errors.New("no packet has been recorded")
	ErrDaemonExists  = errors.New("synchronization daemon is running")     // EEXIST
	ErrNoDaemon      = errors.New("synchronization daemon is not running") // ESRCH
	ErrNoDevice      = errors.New("no such network interface")             // ENODEV
	ErrSynProxy      = errors.New("a SYN proxy needs servers by masq or fullnat, whose replies pass the director")
	ErrCheckExists   = errors.New("check exists")
	ErrNoSuchCheck   = errors.New("no such check")
	ErrRefused       = errors.New("only root or the director's user may ask") // EPERM
)

var codes = []word[error]{
	{ErrServiceExists, "service_exists"},
	{ErrNoSuchService, "no_such_service"},
	{ErrServerExists, "server_exists"},
	{ErrNoSuchServer, "no_such_server"},
	{ErrNoScheduler, "no_such_scheduler"},
	{ErrRange, "out_of_range"},
	{ErrInvalid, "invalid"},
	{ErrLocalExists, "local_address_exists"},
	{ErrNoSuchLocal, "no_such_local_address"},
	{ErrNoSuchMark, "no_such_mark_rule"},
	{ErrNoTrace, "no_trace"},
	{ErrDaemonExists, "daemon_exists"},
	{ErrNoDaemon, "no_such_daemon"},
	{ErrNoDevice, "no_such_interface"},
	{ErrSynProxy, "syn_proxy"},
	{ErrCheckExists, "check_exists"},
	{ErrNoSuchCheck, "no_such_check"},
	{ErrRefused, "refused"},
}

// Code returns the word that stands for err in the control API, or "internal"
// if it is none of the errors of this package.
func Code(err error) string {
	for _, w := range codes {
		if errors.Is(err, w.value) {
			return w.name
		}
	}
	return "internal"
}

// ErrorOf returns the error of this package that code stands for, or nil.
func ErrorOf(code string) error {
	for _, w := range codes {
		if w.name == code {
			return w.value
		}
	}
	return nil
}
