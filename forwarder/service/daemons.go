package service

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"uvs/forwarder/config"
	"uvs/forwarder/state"
)

// SyncDaemons keeps the parameters of the connection synchronization daemons, with
// the checks and defaults of IPVS (ip_vs_sync.c, start_sync_thread). Who
// runs them follows OnChange. Its methods are safe for concurrent use.
type SyncDaemons struct {
	// MTU returns the MTU of a network interface in bytes. It asks the kernel
	// unless it is set before first use.
	MTU func(name string) (int, error)

	// OnChange, if set, is called after each change, before the caller gets its
	// result.
	OnChange func()

	services *Table
	log      *slog.Logger

	mu      sync.Mutex
	running []config.Daemon
}

// NewSyncDaemons returns the daemons of a director with these services, none
// running. The protocol cannot express a real server of another family than its
// service: such servers and daemons exclude each other.
func NewSyncDaemons(services *Table, log *slog.Logger) *SyncDaemons {
	d := &SyncDaemons{MTU: linkMTU, services: services, log: log}
	services.syncRuns = d.any
	return d
}

func linkMTU(name string) (int, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return link.MTU, nil
}

func (d *SyncDaemons) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.running) > 0
}

// Sizes of the headers before a synchronization message, in bytes.
const (
	udpHeaderLen  = 8
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
)

// Daemons returns those running, the master first.
func (d *SyncDaemons) Daemons() []config.Daemon {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(slices.Values(d.running), func(a, b config.Daemon) int {
		return -strings.Compare(string(a.State), string(b.State))
	})
}

// StartDaemon records a daemon with its defaults filled in. It may fail with
// ErrDaemonExists, ErrNoDevice or ErrInvalid.
func (d *SyncDaemons) StartDaemon(c config.Daemon) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if d.services.mixed() {
		return fmt.Errorf("a real server's family differs from its service's: %w", config.ErrInvalid)
	}
	mtu, err := d.MTU(c.Interface)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Interface, config.ErrNoDevice)
	}
	if err := d.add(withDefaults(c, mtu)); err != nil {
		return err
	}
	d.log.Info("a synchronization daemon was started", "event", "sync-started", "state", c.State, "interface", c.Interface)
	d.changed()
	return nil
}

func (d *SyncDaemons) add(c config.Daemon) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.index(c.State) >= 0 {
		return fmt.Errorf("%s: %w", c.State, config.ErrDaemonExists)
	}
	d.running = append(d.running, c)
	d.save()
	return nil
}

func (d *SyncDaemons) changed() {
	if d.OnChange != nil {
		d.OnChange()
	}
}

func (d *SyncDaemons) index(state config.DaemonState) int {
	return slices.IndexFunc(d.running, func(r config.Daemon) bool { return r.State == state })
}

// withDefaults fills in what the caller left unset. A master's messages are sized for
// an MTU of 1500 whatever the interface's is; a backup accepts larger ones.
func withDefaults(c config.Daemon, mtu int) config.Daemon {
	if !c.Group.IsValid() {
		c.Group = netip.AddrFrom4([4]byte{224, 0, 0, 81})
	}
	if c.Port == 0 {
		c.Port = 8848
	}
	if c.TTL == 0 {
		c.TTL = 1
	}
	header := ipv4HeaderLen + udpHeaderLen
	if c.Group.Is6() {
		header = ipv6HeaderLen + udpHeaderLen
	}
	least, link := 1, 1500
	if c.State == config.Backup {
		least, link = 1024, min(max(mtu, 1500), 65535)
	}
	if c.MaxLen == 0 {
		c.MaxLen = uint16(link - header)
	}
	c.MaxLen = uint16(min(max(int(c.MaxLen), least), 65535-header))
	return c
}

// StopDaemon forgets a daemon. It may fail with ErrNoDaemon.
func (d *SyncDaemons) StopDaemon(state config.DaemonState) error {
	if err := d.remove(state); err != nil {
		return err
	}
	d.log.Info("a synchronization daemon was stopped", "event", "sync-stopped", "state", state)
	d.changed()
	return nil
}

func (d *SyncDaemons) remove(state config.DaemonState) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.index(state)
	if i < 0 {
		return fmt.Errorf("%s: %w", state, config.ErrNoDaemon)
	}
	d.running = slices.Delete(d.running, i, i+1)
	d.save()
	return nil
}

// save keeps the daemons in the state of the services.
func (d *SyncDaemons) save() {
	d.services.SaveSetting(state.SyncDaemons, d.running)
}

// RestoreDaemons makes the daemons those of the state. It comes after the services'
// Restore, before first use. The interfaces may be gone: that is not checked again.
func (d *SyncDaemons) RestoreDaemons() error {
	return d.services.RestoreSetting(state.SyncDaemons, &d.running)
}
