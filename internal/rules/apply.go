package rules

import (
	"context"
	"fmt"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

// Director is what rules are read from and applied to: a client.Client, or a
// control.Local.
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

// Of returns the rules that a director has now.
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
		r.Marks = nil // so a director without marks has rules of ipvsadm only
	}
	r.Daemons, err = d.Daemons(ctx)
	return r, err
}

// Apply makes the changes of the plan. Either all services change, at once, or, if
// one command would be refused, nothing does; the error names the command.
// Synchronization daemons come last: one that cannot start undoes nothing.
func (p *Plan) Apply(ctx context.Context, d Director) error {
	if err := p.applyCommands(ctx, d); err != nil {
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

// applyCommands changes the services.
func (p *Plan) applyCommands(ctx context.Context, d Director) error {
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
