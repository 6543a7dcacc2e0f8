// Package ipvsnl is the generic netlink family IPVS of Linux 6.1, spoken for a director:
// messages to it become commands in the types of package config, and what the director says
// becomes the family's answers (linux/ip_vs.h; net/netfilter/ipvs/ip_vs_ctl.c). It knows no
// socket. Its test data are the real kernel's answers, byte for byte.
//
// The family has no attributes for what IPVS does not have: a server by FULLNAT is listed with
// the method number 5, local addresses and policies are not listed, and edits leave them as they
// are.
package ipvsnl

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
)

// Director is what the family needs of a director; a client.Client is one.
type Director interface {
	Apply(ctx context.Context, commands []config.Command, atomic bool) ([]error, error)
	About(context.Context) (config.About, error)
	Services(context.Context) ([]config.ServiceState, error)
	Service(context.Context, config.Key) (config.ServiceState, error)
	Timeouts(context.Context) (config.Timeouts, error)
	SetTimeouts(context.Context, config.Timeouts) error
	Daemons(context.Context) ([]config.Daemon, error)
	StartDaemon(context.Context, config.Daemon) error
	StopDaemon(context.Context, config.DaemonState) error
}

// Family answers messages of the family. It is safe for concurrent use if its director is.
type Family struct {
	ID       uint16 // by which the family is called in messages
	Director Director
}

// Answer answers one message of the family, in datagrams that are to be sent in this order.
// The message is carried out when it returns.
func (f *Family) Answer(ctx context.Context, m Message) [][]byte {
	c := &call{Family: f, ctx: ctx, m: m}
	err := c.run()
	if m.dumps() && err == nil {
		return c.out.dump(m)
	}
	return c.out.single(m, err)
}

// call is one message being answered.
type call struct {
	*Family
	ctx context.Context
	m   Message
	out answers
}

func (c *call) run() error {
	cmd := c.m.command()
	if cmd == 0 || cmd > lastCommand || cmd == setInfo {
		return unix.EOPNOTSUPP
	}
	if c.m.dumps() {
		return c.list(cmd)
	}
	top, err := parse(c.m.attrs(), topPolicy)
	if err != nil {
		return err
	}
	switch cmd {
	case getService, getConfig, getInfo:
		return c.show(cmd, top)
	case getServer, getDaemon:
		return unix.EOPNOTSUPP
	}
	return errno(c.change(cmd, top))
}

// change carries out a command that changes something.
func (c *call) change(cmd command, top attributes) error {
	switch cmd {
	case flush:
		return c.apply(config.Command{Op: config.OpFlush})
	case setConfig:
		return c.setTimeouts(top)
	case newDaemon, deleteDaemon:
		return c.daemon(cmd, top[attrDaemon])
	}
	if cmd == zero && top[attrService] == nil {
		return c.apply(config.Command{Op: config.OpZero})
	}
	return c.changeService(cmd, top)
}

// apply has the director carry out a command.
func (c *call) apply(command config.Command) error {
	errs, err := c.Director.Apply(c.ctx, []config.Command{command}, false)
	if err != nil {
		return err
	}
	return errors.Join(errs...)
}

// services are the operations on services and servers.
var operations = map[command]config.Op{
	newService: config.OpAddService, setService: config.OpEditService, deleteService: config.OpDeleteService,
	zero:      config.OpZero,
	newServer: config.OpAddServer, setServer: config.OpEditServer, deleteServer: config.OpDeleteServer,
}

// changeService carries out a command on a service or one of its servers. As in the kernel,
// a service that is missing, or there already, comes before what is wrong about the rest.
func (c *call) changeService(cmd command, top attributes) error {
	whole := cmd == newService || cmd == setService
	attrs, err := nested(top[attrService], servicePolicy)
	if err != nil {
		return err
	}
	key, err := keyOf(attrs)
	if err != nil {
		return err
	}
	command := config.Command{Op: operations[cmd], Service: &config.Service{Key: key}}
	if whole {
		if err := c.wholeService(attrs, command.Service); err != nil {
			return err
		}
	}
	if cmd == newServer || cmd == setServer || cmd == deleteServer {
		command.Server, err = serverOf(top[attrServer], key, cmd != deleteServer)
	}
	if err == nil {
		err = c.apply(command)
	}
	if err == nil || !wrongValue(err) {
		return err
	}
	_, missing := c.Director.Service(c.ctx, key)
	switch {
	case cmd == newService && missing == nil:
		return unix.EEXIST
	case cmd != newService && missing != nil:
		return missing
	}
	return err
}

// wrongValue reports whether an error is about a value, and so may hide that there is no
// such service.
func wrongValue(err error) bool {
	var number unix.Errno
	return errors.As(err, &number) || errors.Is(err, config.ErrInvalid) || errors.Is(err, config.ErrRange)
}

func (c *call) setTimeouts(top attributes) error {
	t := config.Timeouts{TCP: top.u32(attrTimeoutTCP), TCPFin: top.u32(attrTimeoutTCPFin), UDP: top.u32(attrTimeoutUDP)}
	return c.Director.SetTimeouts(c.ctx, t)
}

func (c *call) daemon(cmd command, b []byte) error {
	attrs, err := nested(b, daemonPolicy)
	if err != nil {
		return err
	}
	d, err := daemonOf(attrs, cmd == newDaemon)
	if err != nil {
		return err
	}
	if cmd == newDaemon {
		return c.Director.StartDaemon(c.ctx, d)
	}
	return c.Director.StopDaemon(c.ctx, d.State)
}

// errno returns the kernel's number for what a director refuses, or for a director that is
// not there: that of a family which its module has taken with it.
func errno(err error) error {
	if err == nil {
		return nil
	}
	return errnoOf(err)
}
