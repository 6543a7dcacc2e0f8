// Package control lets other programs configure and watch a director: JSON over HTTP on a
// unix socket. By default the socket is abstract, so each network namespace has its own.
//
// A Server serves the API of a Director. Anybody in the namespace may read; only root and
// the director's own user, by the peer credentials of the connection, may change
// something. Requests with unknown fields or invalid values are refused with a message that
// names the field. The client is package forwarder/client; the format is in docs/api.md and
// in openapi.json. Local is the API without a socket, for a director of this process.
//
// The package does not handle packets: it passes the types of forwarder/config to the
// Director, whose methods must be safe for concurrent use.
package control

import (
	"context"
	"iter"
	"net/netip"

	"uvs/forwarder/config"
	"uvs/sched/sim"
)

// Version is the version of the API, the first element of each path.
const Version = 1

// Director is the director behind the API. Errors are those of package config, wrapped.
type Director interface {
	AddService(config.Service) error
	EditService(config.Service) error
	DeleteService(config.Key) error
	Flush() error
	Zero(key *config.Key) error // nil: all services and the totals

	AddServer(config.Key, config.Server) error
	EditServer(config.Key, config.Server) error
	DeleteServer(config.Key, netip.AddrPort) error

	AddLocal(config.Key, netip.Addr) error
	DeleteLocal(config.Key, netip.Addr) error

	// SetPolicy sets what happens to connections whose real server is removed.
	SetPolicy(config.Key, config.Policy) error
	SetSynProxy(k config.Key, on bool) error
	// SetVIPRole sets when the director answers for a service's address, and VIPs says for
	// which it does.
	SetVIPRole(config.Key, config.VIPRole) error
	VIPs() []config.VIP

	// Checks ask the real servers of a service. DeleteCheck without a check removes all.
	// Checks returns what they have found, CheckNow asks once.
	AddCheck(config.Key, config.Check) error
	DeleteCheck(config.Key, *config.Check) error
	Checks() []config.CheckState
	CheckNow(context.Context, *config.Key, *config.Check) ([]config.CheckState, error)

	// Apply runs commands in order and returns an error or nil for each. Packets
	// see all changes at once. With atomic it applies all commands or none, and the
	// list ends with the first error.
	Apply(commands []config.Command, atomic bool) []error

	// Mark rules act in order; SetMarks replaces them all at once.
	Marks() []config.MarkRule
	SetMarks([]config.MarkRule) error
	AddMark(config.MarkRule) error
	DeleteMark(config.MarkRule) error

	Services() []config.ServiceState
	State(config.Key) (config.ServiceState, error)
	Totals() config.Stats
	Summary(config.SummaryQuery) config.Summary
	Connections() []config.Connection

	Timeouts() config.Timeouts
	SetTimeouts(config.Timeouts) error // 0 keeps a value

	Sysctls() []config.Sysctl // of net.ipv4.vs
	SetSysctl(name, value string) error

	// Trace yields the decisions about the next n packets that the options ask for, until
	// the context ends. LastTrace returns the packet recorded last.
	Trace(ctx context.Context, n int, o config.TraceOptions) (iter.Seq[config.Trace], error)
	LastTrace() (config.Trace, error)
	RecentTrace(number uint64) (config.Trace, error)
	// Record yields what becomes of the connections to a service, until the context or
	// the service ends.
	Record(context.Context, config.Key) (iter.Seq[sim.Line], error)
	// DryRun returns what would become of a packet and, if it passes here, of the
	// server's answer. LastDrops returns an example of each reason to drop.
	DryRun(config.DryPacket) (there config.Trace, back *config.Trace, err error)
	LastDrops() map[string]config.Trace

	// Counters returns the frames of each verdict by its name, and the counters
	// of each port.
	Counters() map[string]uint64
	// Accounts returns what became of the frames of each receive queue.
	Accounts() []config.Account

	Daemons() []config.Daemon
	StartDaemon(config.Daemon) error
	StopDaemon(config.DaemonState) error
}
