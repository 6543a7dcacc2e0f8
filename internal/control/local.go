package control

import (
	"context"
	"iter"

	"uvs/forwarder/config"
)

// Local is a Director of this process with the methods of a client.Client, for code
// that works on either. Contexts are ignored: no call waits.
type Local struct{ director Director }

// NewLocal returns d as a Local.
func NewLocal(d Director) Local { return Local{d} }

// Apply runs commands in order and returns an error or nil for each.
func (l Local) Apply(_ context.Context, commands []config.Command, atomic bool) ([]error, error) {
	return l.director.Apply(commands, atomic), nil
}

// Services returns all services.
func (l Local) Services(context.Context) ([]config.ServiceState, error) {
	return l.director.Services(), nil
}

// Service returns one service.
func (l Local) Service(_ context.Context, k config.Key) (config.ServiceState, error) {
	return l.director.State(k)
}

// Connections yields the connections; its errors are nil.
func (l Local) Connections(context.Context) iter.Seq2[config.Connection, error] {
	return func(yield func(config.Connection, error) bool) {
		for _, c := range l.director.Connections() {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// Timeouts returns the timeouts of ipvsadm --set.
func (l Local) Timeouts(context.Context) (config.Timeouts, error) { return l.director.Timeouts(), nil }

// SetTimeouts changes those that are not 0.
func (l Local) SetTimeouts(_ context.Context, t config.Timeouts) error {
	return l.director.SetTimeouts(t)
}

// Marks returns the rules for firewall marks.
func (l Local) Marks(context.Context) ([]config.MarkRule, error) { return l.director.Marks(), nil }

// SetMarks replaces the rules for firewall marks.
func (l Local) SetMarks(_ context.Context, rules []config.MarkRule) error {
	return l.director.SetMarks(rules)
}

// Sysctls returns the parameters under net.ipv4.vs.
func (l Local) Sysctls(context.Context) ([]config.Sysctl, error) { return l.director.Sysctls(), nil }

// SetSysctl sets one of them.
func (l Local) SetSysctl(_ context.Context, name, value string) error {
	return l.director.SetSysctl(name, value)
}

// Daemons returns the synchronization daemons.
func (l Local) Daemons(context.Context) ([]config.Daemon, error) { return l.director.Daemons(), nil }

// StartDaemon starts a synchronization daemon.
func (l Local) StartDaemon(_ context.Context, d config.Daemon) error {
	return l.director.StartDaemon(d)
}

// StopDaemon stops one.
func (l Local) StopDaemon(_ context.Context, s config.DaemonState) error {
	return l.director.StopDaemon(s)
}
