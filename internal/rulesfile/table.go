package rulesfile

import (
	"uvs/forwarder/config"
	"uvs/forwarder/service"
	"uvs/forwarder/sysctl"
	"uvs/sched"
)

// table is where a rules file is tried: a director's services and parameters without
// its engine.
type table struct {
	services *service.Table
	sysctl   sysctl.Values
}

func newTable() *table { return &table{services: service.New(sched.New)} }

func (t *table) Apply(commands []config.Command, atomic bool) []error {
	return t.services.Apply(commands, atomic)
}

func (t *table) Services() []config.ServiceState { return t.services.Services() }

func (t *table) SetSysctl(name, value string) error { return t.sysctl.Set(name, value) }
