package config

import (
	"fmt"
	"net/netip"
)

// Op is what a Command does, in the words of the long options of ipvsadm.
type Op string

// Operations of commands.
const (
	OpAddService    Op = "add-service"
	OpEditService   Op = "edit-service"
	OpDeleteService Op = "delete-service"
	OpFlush         Op = "clear"
	OpZero          Op = "zero"
	OpAddServer     Op = "add-server"
	OpEditServer    Op = "edit-server"
	OpDeleteServer  Op = "delete-server"
	OpAddLocal      Op = "add-laddr"
	OpDeleteLocal   Op = "del-laddr"
	OpSetPolicy     Op = "set-policy"
	OpSetSynProxy   Op = "set-syn-proxy"
	OpSetVIPRole    Op = "set-vip-role"
	OpAddCheck      Op = "add-check"
	OpDeleteCheck   Op = "delete-check"
)

// Command is one change of the table of services, as data: a rules file is a
// list of them, and so is what turns one configuration into another.
type Command struct {
	Op Op `json:"op"`
	// Service is the whole service for add-service and edit-service; of the
	// others all but clear take its key, and zero may do without.
	Service *Service `json:"service,omitempty"`
	// Server is the whole server for add-server and edit-server; delete-server
	// takes its address and port.
	Server *Server `json:"server,omitempty"`
	// Local is the local address of add-laddr and del-laddr.
	Local netip.Addr `json:"local_address,omitzero"`
	// Policy is that of set-policy; none is IPVS's.
	Policy Policy `json:"policy,omitzero"`
	// SynProxy is that of set-syn-proxy.
	SynProxy bool `json:"syn_proxy,omitempty"`
	// VIPRole is that of set-vip-role; none is the director's.
	VIPRole VIPRole `json:"vip_role,omitempty"`
	// Check is that of add-check; delete-check takes what it asks, or none for all.
	Check *Check `json:"check,omitempty"`
}

// Validate reports a part that is missing, superfluous or wrong.
func (c Command) Validate() error {
	service, server, local := c.needs()
	switch {
	case !service && !server && c.Op != OpFlush && c.Op != OpZero:
		return wrong("op", "there is no command %q", c.Op)
	case service && c.Service == nil:
		return wrong("service", "%s needs one", c.Op)
	case c.Op == OpFlush && c.Service != nil:
		return wrong("service", "%s takes none", c.Op)
	case server != (c.Server != nil):
		return wrong("server", "%s takes %s", c.Op, noneOrOne(server))
	case c.Op != OpSetPolicy && c.Policy != Policy{}:
		return wrong("policy", "%s takes none", c.Op)
	case c.Op != OpSetSynProxy && c.SynProxy:
		return wrong("syn_proxy", "%s takes none", c.Op)
	case c.Op != OpSetVIPRole && c.VIPRole != VIPDefault:
		return wrong("vip_role", "%s takes none", c.Op)
	case c.Check != nil && c.Op != OpAddCheck && c.Op != OpDeleteCheck, c.Check == nil && c.Op == OpAddCheck:
		return wrong("check", "%s takes %s", c.Op, noneOrOne(c.Op == OpAddCheck))
	case local != c.Local.IsValid():
		return wrong("local_address", "%s takes %s", c.Op, noneOrOne(local))
	}
	return c.validateParts()
}

func noneOrOne(one bool) string {
	if one {
		return "one"
	}
	return "none"
}

// needs tells which parts the command must have.
func (c Command) needs() (service, server, local bool) {
	switch c.Op {
	case OpAddService, OpEditService, OpDeleteService, OpSetPolicy, OpSetSynProxy, OpSetVIPRole, OpAddCheck, OpDeleteCheck:
		return true, false, false
	case OpAddServer, OpEditServer, OpDeleteServer:
		return true, true, false
	case OpAddLocal, OpDeleteLocal:
		return true, false, true
	}
	return false, false, false
}

func (c Command) validateParts() error {
	switch c.Op {
	case OpAddService, OpEditService:
		return c.within("service", c.Service.Validate())
	case OpAddServer, OpEditServer:
		if err := c.within("server", c.Server.Validate()); err != nil {
			return err
		}
	case OpDeleteServer:
		if !c.Server.Addr.IsValid() {
			return wrong("server.address", "a real server needs an address")
		}
	case OpAddLocal, OpDeleteLocal:
		if err := validLocal(c.Local); err != nil {
			return err
		}
	case OpSetVIPRole:
		if err := c.VIPRole.Validate(); err != nil {
			return err
		}
	case OpAddCheck:
		if err := c.within("check", c.Check.ValidateFor(c.Service.Key)); err != nil {
			return err
		}
	case OpSetPolicy:
		if err := c.within("policy", c.Policy.Validate()); err != nil {
			return err
		}
	}
	if c.Service == nil {
		return nil
	}
	return c.within("service", c.Service.Key.Validate())
}

func (c Command) within(part string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s.%w", part, err)
}

// DaemonState says which of the two synchronization daemons is meant.
type DaemonState string

// States of daemons, in the words of ipvsadm --start-daemon.
const (
	Master DaemonState = "master"
	Backup DaemonState = "backup"
)

// Daemon is a connection synchronization daemon with the parameters of ipvsadm
// --start-daemon. A zero value of the last five means the default, which
// listings show filled in.
type Daemon struct {
	State     DaemonState `json:"state"`
	Interface string      `json:"interface"`
	SyncID    uint8       `json:"sync_id"`
	MaxLen    uint16      `json:"max_length,omitempty"` // bytes of a message; 1472, with an IPv6 group 1452
	Group     netip.Addr  `json:"group,omitzero"`       // 224.0.0.81
	Port      uint16      `json:"port,omitempty"`       // 8848
	TTL       uint8       `json:"ttl,omitempty"`        // 1
}

// Validate reports the first wrong value.
func (d Daemon) Validate() error {
	if d.State != Master && d.State != Backup {
		return wrong("state", "it is master or backup, not %q", d.State)
	}
	if d.Group.IsValid() && !d.Group.IsMulticast() {
		return wrong("group", "%s is not a multicast address", d.Group)
	}
	return nil
}
