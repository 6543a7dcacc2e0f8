package director

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/config"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/internal/control"
	"uvs/internal/events"
	"uvs/internal/fdstore"
	"uvs/internal/peer"
	"uvs/modes"
)

// Config says what a director is. Defaults returns the one to begin with.
type Config struct {
	Interfaces []string // to work on; empty: all that are up, as they come and go
	Workers    int      // receive workers in all; 0: one for each CPU

	// Driver opens the ports. If it is nil, IO names one: "ring", "socket", or
	// "tap:NAME" for rings and a device that is made for the host itself or a
	// virtual machine.
	Driver  port.Driver
	IO      string
	Profile afpacket.Profile // of rings
	GRO     afpacket.GROMode // where generic receive offload is turned on; restored at the end

	// Neighbours knows links, routes and neighbours. If it is nil, they are those
	// of this network namespace, where the director is then known to others and
	// keeps the host's own stack away from what it serves. A director with
	// Neighbours of its own, a neigh.Static say, leaves the host alone.
	Neighbours    forwarder.Neighbours
	NoGuard       bool          // do not keep the host's stack away
	Share         bool          // start although another director works in this network namespace
	AnnounceEvery time.Duration // interval of gratuitous ARP; 0: neigh.DefaultAnnounceEvery, negative: never

	// State is the directory of what the director keeps for the next one: the next
	// process with the same State goes on where this one was killed or stopped. Empty:
	// one of its own for each network namespace (see state.DefaultDir), and none for a
	// director with Neighbours of its own. StateNone, StateMemory: no directory.
	State string

	Rules     string // file to load rules from and to save them to at the end; empty: none
	Socket    string // control socket: @NAME is abstract, anything else a path
	NoControl bool   // no control API, whatever Socket is

	Conns      int            // largest number of connections; 0: 4194304
	LocalPorts [2]uint16      // first and last port of FULLNAT's local addresses; zero: 5000 to 65535
	VIPRole    config.VIPRole // when to answer for the addresses of services that have no role of their own
	TOA        uint8          // TCP option that tells FULLNAT servers the client's address; 0: none

	// Sync says how connections are synchronized with other directors' (docs/sync.md).
	Sync forwarder.SyncConfig

	// Store keeps what is to outlive the process: the rings and sockets of the director,
	// which the next one goes on with. Nil: nothing does.
	Store *fdstore.Store
	// Replace takes over from the director that works in this network namespace, without
	// losing a frame. If there is none, the director starts as usual.
	Replace bool

	Version string // of the program, as the control API tells it
	// OnReady is called when all ports are open, before the control API answers;
	// nil: nothing is.
	OnReady func()
	Log     *slog.Logger // nil is silence
	// Events remembers what happens, of which the control API tells; Log goes by way of its
	// Handler. Nil: New makes one.
	Events *events.Ring
	// Metrics is where Prometheus finds the director: a port of the loopback address,
	// ADDRESS:PORT, or the path of a unix socket. Empty: nowhere.
	Metrics string
}

// Defaults returns the Config of `uvs director` without flags.
func Defaults() Config {
	return Config{
		IO: "ring", Socket: peer.Socket(), TOA: modes.TOAKind,
		LocalPorts: [2]uint16{5000, 65535}, AnnounceEvery: neigh.DefaultAnnounceEvery,
	}
}

const (
	// maxWorkers is how many sockets share an interface by default
	// (PACKET_FANOUT_MAX).
	maxWorkers = 256
	// maxConns is how many connections a table can have.
	maxConns = 1<<30 - 1
)

// FieldError is the error of New for a value that a Config's field cannot have.
type FieldError struct {
	Field string // of Config
	Value string
	Want  string // what it can be
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("director: %s %s: %s", e.Field, e.Value, e.Want)
}

func (c *Config) check() error {
	if c.Workers < 0 || c.Workers > maxWorkers {
		return &FieldError{"Workers", strconv.Itoa(c.Workers), fmt.Sprintf("0 to %d", maxWorkers)}
	}
	if c.Conns < 0 || c.Conns > maxConns {
		return &FieldError{"Conns", strconv.Itoa(c.Conns), fmt.Sprintf("1 to %d (0: 4194304)", maxConns)}
	}
	if c.VIPRole.Validate() != nil {
		return &FieldError{"VIPRole", strconv.Quote(string(c.VIPRole)), "always, host or none"}
	}
	if t := c.Sync.Trust; t != "" && t != forwarder.TrustKernel && t != forwarder.TrustServers {
		return &FieldError{"Sync.Trust", strconv.Quote(string(t)), "kernel or servers"}
	}
	if c.Driver != nil {
		return nil
	}
	return c.checkIO()
}

// present makes the director known in its network namespace, where it is to be
// the only one unless the user wants it to share. A system that lets nobody be
// known is no reason not to start: the Presence is nil then.
func (c *Config) present() (*control.Presence, error) {
	defer control.Begin()()
	p, err := control.Present(control.Introduction{PID: os.Getpid(), Interfaces: c.Interfaces, Socket: c.Socket}, c.Store)
	if err != nil {
		c.Log.Warn("a second director in this network namespace will not know of this one", "err", err)
		return nil, nil
	}
	if c.Share {
		return p, nil
	}
	if err := p.CheckAlone(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}
