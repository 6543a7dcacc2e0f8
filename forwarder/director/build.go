package director

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/host"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/socket"
	"uvs/forwarder/tap"
)

// tapDevice returns the name of the device that IO makes for the host, or "".
func (c *Config) tapDevice() string {
	name, ok := strings.CutPrefix(c.IO, "tap:")
	if !ok || c.Driver != nil {
		return ""
	}
	return name
}

func (c *Config) checkIO() error {
	device := c.tapDevice()
	switch {
	case len(device) >= unix.IFNAMSIZ: // the kernel would cut it, and nobody find the device
		return &FieldError{"IO", strconv.Quote(c.IO), fmt.Sprintf("an interface's name has %d bytes at most", unix.IFNAMSIZ-1)}
	case c.IO == "ring", c.IO == "socket", device != "":
		return nil
	}
	return &FieldError{"IO", strconv.Quote(c.IO), "ring, socket or tap:NAME"}
}

// driver opens the driver that IO names.
func (c *Config) driver(gro *afpacket.GRO) (port.Driver, error) {
	if c.Driver != nil {
		return c.Driver, nil
	}
	if c.IO == "socket" {
		return host.Driver{Driver: socket.Driver{}}, nil
	}
	ring := host.Driver{Driver: afpacket.Driver{Profile: c.Profile, GRO: gro, Store: c.Store, Log: c.Log}}
	device := c.tapDevice()
	if device == "" {
		return ring, nil
	}
	d, err := tap.NewDriver(tap.Config{Name: device}, ring)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// build makes the engine that the Config wants.
func (d *Director) build() error {
	c := &d.conf
	driver, err := c.driver(d.gro)
	if err != nil {
		return explain(err)
	}
	f := forwarder.Config{
		Driver: driver, Neighbours: c.Neighbours, Interfaces: c.Interfaces, Workers: c.Workers,
		HostLink: c.tapDevice(), MaxConns: c.Conns, LocalPorts: c.LocalPorts, TOA: c.TOA, Sync: c.Sync, Log: c.Log, VIPRole: c.VIPRole,
		NeedPorts: d.before.Load() != nil, // else the director before goes on
		Ending:    d.endUse,
	}
	if d.figures != nil {
		f.Sampled = d.figures.Forwarded
	}
	if c.Neighbours == nil {
		return explain(d.inNamespace(f))
	}
	return d.newForwarder(f)
}

// explain says what a director needs, if an error comes from its absence.
func explain(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: a director needs CAP_NET_ADMIN and CAP_NET_RAW (be root; `uvs lab` works without)", err)
	}
	return err
}

// inNamespace makes an engine for the links, routes and neighbours of this network
// namespace.
func (d *Director) inNamespace(f forwarder.Config) (err error) {
	c := &d.conf
	var lacking error
	d.guard, lacking = newGuard(c)
	if errors.Is(lacking, guard.ErrGuarded) && d.othersGoOn() {
		return lacking
	}
	d.table, err = neigh.New(neigh.Config{
		HostEntries:   d.guard != nil && d.guard.RedirectsHost(),
		Send:          func(_ int, frames []frame.Frame) { d.Emit(frames) },
		Dropped:       func(v frame.Verdict, frames []frame.Frame) { d.Dropped(v, frames) },
		AnnounceEvery: c.AnnounceEvery,
		Log:           c.Log,
	})
	if err != nil {
		return err
	}
	d.rememberNeighbours()
	if lacking != nil {
		c.Log.Warn("no guard", "event", "guard-missing", "why", lacking, "then", withoutGuard)
	}
	f.Neighbours = d.table
	if d.guard != nil {
		f.Guard = d.guard
	}
	if err = d.newForwarder(f); err != nil {
		return err
	}
	d.Unicast = (&localNetworks{}).unicast
	return nil
}

// withoutGuard is what goes wrong where no guard keeps the host's stack away.
const withoutGuard = "a virtual address on an interface of this host gets its clients reset by the host, and with ip_forward=1 replies leave untranslated besides"

// othersGoOn reports whether the end of this director is not the end of service: another
// goes on, or it is started again.
func (d *Director) othersGoOn() bool {
	return d.before.Load() != nil || d.conf.Store.Supervised()
}

// newGuard returns the guard, or nil and why there is none.
func newGuard(c *Config) (*guard.Guard, error) {
	if c.NoGuard {
		return nil, errors.New("--no-guard")
	}
	return guard.New(c.Log, c.Store)
}
