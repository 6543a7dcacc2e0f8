// Package control lets other programs configure and watch a director: JSON over
// HTTP on a unix socket, which is abstract and therefore one for each network
// namespace unless a path is asked for.
//
// A Server puts a Director behind that API. Anybody in the namespace may read;
// whoever changes something must be root or the director's own user, by the
// peer credentials of the connection. Requests with unknown fields or values
// that cannot be are refused with a message that names the field. The client
// side is package forwarder/client, the format is in docs/api.md and in
// openapi.json.
//
// The package knows nothing of packets: it passes the types of forwarder/config
// to the Director, whose methods must be safe for concurrent use.
package control

import (
	"context"
	"iter"
	"net/netip"

	"uvs/forwarder/config"
)

// Version is the version of the API, the first element of each path.
const Version = 1

// Director is what the API drives. Errors are those of package config, wrapped.
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

	// SetPolicy says what becomes of connections whose real server goes.
	SetPolicy(config.Key, config.Policy) error

	// Apply runs commands in order, to be seen at once, and returns an error or
	// nil for each. With atomic it carries out all or none, and the list ends
	// with the first error.
	Apply(commands []config.Command, atomic bool) []error

	// Mark rules act in order; SetMarks replaces them all at once.
	Marks() []config.MarkRule
	SetMarks([]config.MarkRule) error
	AddMark(config.MarkRule) error
	DeleteMark(config.MarkRule) error

	Services() []config.ServiceState
	State(config.Key) (config.ServiceState, error)
	Totals() config.Stats
	Connections() []config.Connection

	Timeouts() config.Timeouts
	SetTimeouts(config.Timeouts) error // 0 keeps a value

	Sysctls() []config.Sysctl // of net.ipv4.vs
	SetSysctl(name, value string) error

	// Trace yields what is decided about the next n packets, those of ARP and
	// neighbour discovery if asked, until the context ends; LastTrace returns the
	// packet recorded last.
	Trace(ctx context.Context, n int, neighbours bool) iter.Seq[config.Trace]
	LastTrace() (config.Trace, error)

	// Counters returns the frames of each verdict by its name, and the counters
	// of each port.
	Counters() map[string]uint64

	Daemons() []config.Daemon
	StartDaemon(config.Daemon) error
	StopDaemon(config.DaemonState) error
}
