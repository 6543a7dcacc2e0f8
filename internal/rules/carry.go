package rules

import (
	"context"
	"fmt"

	"uvs/forwarder/config"
	"uvs/internal/control"
	"uvs/internal/ipvsadm"
)

// Director is what rules are taken from and applied to; a client.Client is one,
// and so is what Local returns.
type Director interface {
	Apply(ctx context.Context, commands []config.Command, atomic bool) ([]error, error)
	Services(context.Context) ([]config.ServiceState, error)
	Timeouts(context.Context) (config.Timeouts, error)
	SetTimeouts(context.Context, config.Timeouts) error
	Marks(context.Context) ([]config.MarkRule, error)
	SetMarks(context.Context, []config.MarkRule) error
	Sysctls(context.Context) ([]config.Sysctl, error)
	SetSysctl(ctx context.Context, name, value string) error
	Daemons(context.Context) ([]config.Daemon, error)
	StartDaemon(context.Context, config.Daemon) error
	StopDaemon(context.Context, config.DaemonState) error
}

// Of returns the rules a director follows now.
func Of(ctx context.Context, d Director) (*Rules, error) {
	services, err := d.Services(ctx)
	if err != nil {
		return nil, err
	}
	r := &Rules{Services: ServicesOf(services)}
	if r.Timeouts, err = d.Timeouts(ctx); err != nil {
		return nil, err
	}
	if r.Sysctls, err = d.Sysctls(ctx); err != nil {
		return nil, err
	}
	if r.Marks, err = d.Marks(ctx); err != nil {
		return nil, err
	}
	if len(r.Marks) == 0 {
		r.Marks = nil // so that the rules of a director without marks are plain ipvsadm
	}
	r.Daemons, err = d.Daemons(ctx)
	return r, err
}

// Carry carries the plan out. The services change all at once or, if one
// command would be refused, not at all, and nothing else does; the error says
// which. Synchronization daemons come last: one that cannot start undoes nothing.
func (p *Plan) Carry(ctx context.Context, d Director) error {
	if err := p.change(ctx, d); err != nil {
		return err
	}
	for _, v := range p.Sysctls {
		if err := d.SetSysctl(ctx, v.Name, v.Value); err != nil {
			return fmt.Errorf("%s: %w", formatSysctl(v), err)
		}
	}
	if p.Marks != nil {
		if err := d.SetMarks(ctx, p.Marks); err != nil {
			return err
		}
	}
	if p.Timeouts != (config.Timeouts{}) {
		if err := d.SetTimeouts(ctx, p.Timeouts); err != nil {
			return err
		}
	}
	for _, state := range p.Stop {
		if err := d.StopDaemon(ctx, state); err != nil {
			return err
		}
	}
	for _, daemon := range p.Start {
		if err := d.StartDaemon(ctx, daemon); err != nil {
			return err
		}
	}
	return nil
}

// change carries the commands out.
func (p *Plan) change(ctx context.Context, d Director) error {
	if len(p.Commands) == 0 {
		return nil
	}
	errs, err := d.Apply(ctx, p.Commands, true)
	if err != nil {
		return err
	}
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("no service was changed: %s: %w", ipvsadm.FormatCommand(p.Commands[i]), err)
		}
	}
	return nil
}

// Local makes a director of this process one that rules can be applied to.
func Local(d control.Director) Director { return local{d} }

type local struct{ d control.Director }

func (l local) Apply(_ context.Context, commands []config.Command, atomic bool) ([]error, error) {
	return l.d.Apply(commands, atomic), nil
}

func (l local) Services(context.Context) ([]config.ServiceState, error) { return l.d.Services(), nil }
func (l local) Timeouts(context.Context) (config.Timeouts, error)       { return l.d.Timeouts(), nil }
func (l local) Daemons(context.Context) ([]config.Daemon, error)        { return l.d.Daemons(), nil }

func (l local) SetTimeouts(_ context.Context, t config.Timeouts) error { return l.d.SetTimeouts(t) }
func (l local) StartDaemon(_ context.Context, d config.Daemon) error   { return l.d.StartDaemon(d) }

func (l local) Marks(context.Context) ([]config.MarkRule, error)          { return l.d.Marks(), nil }
func (l local) SetMarks(_ context.Context, rules []config.MarkRule) error { return l.d.SetMarks(rules) }

func (l local) StopDaemon(_ context.Context, s config.DaemonState) error { return l.d.StopDaemon(s) }

func (l local) Sysctls(context.Context) ([]config.Sysctl, error) { return l.d.Sysctls(), nil }

func (l local) SetSysctl(_ context.Context, name, value string) error {
	return l.d.SetSysctl(name, value)
}
