// Package controltest has a director for tests of the control API, of the tools that
// use it and of rules files: it has the services, marks, daemons and parameters of a
// real one, but no engine. Connections, counters and traces are what a test sets.
//
// It does not know package control, so that package's own tests can use it.
package controltest

import (
	"context"
	"iter"
	"log/slog"

	"uvs/forwarder/config"
	"uvs/forwarder/service"
	"uvs/forwarder/sysctl"
	"uvs/sched"
	"uvs/sched/sim"
)

// The embedded types under names that do not hide their methods.
type (
	serviceTable = service.Table
	syncDaemons  = service.SyncDaemons
)

// Director is a control.Director that forwards nothing. Set its fields before it is
// in use; its methods are then safe for concurrent use as far as its services and
// daemons are.
type Director struct {
	*serviceTable
	*syncDaemons
	Conns   []config.Connection // what Connections returns
	Counted map[string]uint64   // what Counters returns
	Audited []config.Account    // what Accounts returns

	timeouts config.Timeouts
	sysctl   sysctl.Values
}

// New returns a director without services. Every interface has an MTU of 1500 bytes.
func New() *Director {
	services := service.New(sched.New)
	daemons := service.NewSyncDaemons(services, slog.New(slog.DiscardHandler))
	daemons.MTU = func(string) (int, error) { return 1500, nil }
	return &Director{
		serviceTable: services, syncDaemons: daemons,
		timeouts: config.Timeouts{TCP: 900, TCPFin: 120, UDP: 300},
	}
}

// Connections returns the field Conns.
func (d *Director) Connections() []config.Connection { return d.Conns }

// Counters returns the field Counted.
func (d *Director) Counters() map[string]uint64 { return d.Counted }

// Accounts returns the field Audited.
func (d *Director) Accounts() []config.Account { return d.Audited }

// VIPs returns the roles of the services: it answers for all but those that are none.
func (d *Director) VIPs() []config.VIP {
	all := []config.VIP{}
	for _, v := range d.Services() {
		role := v.VIPRole.Or(config.VIPAlways)
		all = append(all, config.VIP{Service: v.Key, Role: role, Default: v.VIPRole == config.VIPDefault,
			Answers: role != config.VIPNone, Serves: true})
	}
	return all
}

// Checks returns nothing.
func (d *Director) Checks() []config.CheckState { return []config.CheckState{} }

// CheckNow asks nobody.
func (d *Director) CheckNow(context.Context, *config.Key, *config.Check) ([]config.CheckState, error) {
	return []config.CheckState{}, nil
}

// Timeouts returns the timeouts, which are IPVS's defaults at first.
func (d *Director) Timeouts() config.Timeouts { return d.timeouts }

// SetTimeouts changes the timeouts that are not 0.
func (d *Director) SetTimeouts(t config.Timeouts) error {
	for value, wanted := range map[*uint32]uint32{&d.timeouts.TCP: t.TCP, &d.timeouts.TCPFin: t.TCPFin, &d.timeouts.UDP: t.UDP} {
		if wanted != 0 {
			*value = wanted
		}
	}
	return nil
}

// Sysctls returns one parameter.
func (d *Director) Sysctls() []config.Sysctl {
	return []config.Sysctl{{Name: "sloppy_tcp", Value: "0"}}
}

// SetSysctl sets a parameter, which Sysctls does not show.
func (d *Director) SetSysctl(name, value string) error { return d.sysctl.Set(name, value) }

// Summary returns one without services.
func (d *Director) Summary(config.SummaryQuery) config.Summary {
	return config.Summary{Services: []config.ServiceSummary{}, Decisions: []config.Decision{}}
}

// Record yields a service without connections.
func (d *Director) Record(context.Context, config.Key) (iter.Seq[sim.Line], error) {
	return func(yield func(sim.Line) bool) {
		yield(sim.Line{Do: sim.Begin, Service: &sim.Recorded{Scheduler: "rr"}})
	}, nil
}

// LastTrace reports that no packet was traced.
func (d *Director) LastTrace() (config.Trace, error) { return config.Trace{}, config.ErrNoTrace }

// RecentTrace reports that no packet was traced.
func (d *Director) RecentTrace(uint64) (config.Trace, error) {
	return config.Trace{}, config.ErrNoTrace
}

// DryRun says that each packet would be passed.
func (d *Director) DryRun(config.DryPacket) (config.Trace, *config.Trace, error) {
	return config.Trace{Verdict: "pass"}, nil, nil
}

// LastDrops returns none.
func (d *Director) LastDrops() map[string]config.Trace { return nil }

// Trace yields one packet, that was passed.
func (d *Director) Trace(context.Context, int, config.TraceOptions) (iter.Seq[config.Trace], error) {
	return func(yield func(config.Trace) bool) { yield(config.Trace{Verdict: "pass"}) }, nil
}
