package load

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"uvs/internal/sysctl"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tester is the process that sends and counts. It runs in the client node, is
// called over the socket it has as standard input, and ends when that closes.
// Its exported methods are the calls (call.go).
type Tester struct {
	trials  uint32
	held    *heldClients // between Hold and Release
	clients *clients     // between StartTCP and EndTCP
}

// Serve runs the tester until its standard input is closed.
func Serve() error {
	// The process may be bound to one CPU; generator, sink and calls must not
	// wait for each other's system calls all the same.
	runtime.GOMAXPROCS(4)
	return serve(os.NewFile(0, "control"), new(Tester).calls())
}

// UDPCall describes a trial with UDP frames.
type UDPCall struct {
	Load
	Method      Method
	Link        string           // of client and server
	Middle      string           // the node in between, whose eth0 is addressed
	To          netip.AddrPort   // virtual service
	Servers     []netip.AddrPort // where frames may arrive
	PID         int              // of the forwarder, 0 if it is the kernel
	Sample      int              // one frame in so many is checked
	Warm        time.Duration    // sending before the window; each flow is sent at least once, unless Fresh
	OncePerFlow bool             // frames of flows not met before, at most as many as there are
	Window      time.Duration
}

// UDP runs a trial.
func (t *Tester) UDP(c UDPCall, r *Trial) error {
	var replies []ends
	if c.Reply {
		var err error
		if replies, err = t.learn(&c); err != nil {
			return err
		}
	}
	t.trials++
	load, w := c.Load, c.Load.path()
	load.Flows = max(load.Flows, 1)
	g, err := t.generator(&c, load, w, replies)
	if err != nil {
		return err
	}
	if c.OncePerFlow {
		g.limit = uint64(c.Load.Flows)
	}
	sink, err := newSink(w.to, c.Link, c.Sample, t.expect(&c, g.stream))
	if err != nil {
		return errors.Join(err, g.port.Close())
	}
	r.Load, r.Start = c.Load, time.Now()
	err = watchTrial(&c, g, sink, r)
	return errors.Join(err, sink.close(r))
}

// watchTrial lets the generator run and reads all clocks and counters at both ends
// of the window.
func watchTrial(c *UDPCall, g *generator, s *sink, r *Trial) error {
	g.start()
	s.timeFrom(g.begin)
	warmUp(c, g)
	g.gap.Store(0)
	s.open(c.Rate > 0)
	before, err := takeSnapshot(c.PID, g.tid, s)
	if err == nil {
		time.Sleep(c.Window)
	}
	after, err2 := takeSnapshot(c.PID, g.tid, s)
	s.open(false)
	r.Gap = time.Duration(g.gap.Load())
	g.close()
	r.Sending = g.end.Sub(g.begin)
	if err := cmp.Or(err, err2); err != nil { // who has ended has ended for both
		return err
	}
	r.Window = after.at.Sub(before.at)
	r.Arrived = after.arrived - before.arrived
	r.CPU, r.Waited = after.cpu-before.cpu, after.schedstats.waited(before.schedstats)
	r.SenderNS, r.Busy = after.sender-before.sender, after.cpus.busy-before.cpus.busy
	r.Sent = g.sent.Load()
	r.Intended = max(r.Sent, g.planned, g.stream.next)
	r.Received, err = s.awaitSilence(r.Sent)
	return err
}

// warmUp lets connections, caches and neighbours settle: for a while, and until
// every flow has been sent.
func warmUp(c *UDPCall, g *generator) {
	time.Sleep(c.Warm)
	for !c.OncePerFlow && g.sent.Load() < uint64(c.Flows) {
		time.Sleep(time.Millisecond)
	}
}

// snapshot is what all clocks and counters show at a moment.
type snapshot struct {
	at          time.Time
	arrived     uint64
	cpu, sender time.Duration
	schedstats  schedstats
	cpus        cpuStats
}

func takeSnapshot(pid, tid int, s *sink) (v snapshot, err error) {
	v.cpus, v.schedstats = machineCPU(), threadSchedstats(pid)
	if v.sender, err = threadTime(tid); err != nil {
		return v, err
	}
	v.at = time.Now()
	if pid != 0 {
		if v.cpu, err = processTime(pid); err != nil {
			return v, fmt.Errorf("bench: the forwarder has ended: %w", err)
		}
	}
	v.arrived, err = s.Packets()
	return v, err
}

// RoutesCall gives the server its ways back to the clients.
type RoutesCall struct {
	Node string
	To   netip.Prefix
	Via  netip.Addr // none: they are the node's own
}

// Route adds a route in a node.
func (t *Tester) Route(c RoutesCall, _ *struct{}) error {
	return inNode(c.Node, func() error {
		dst, err := netlink.ParseIPNet(c.To.String())
		if err == nil {
			err = netlink.RouteReplace(c.route(dst))
		}
		if err != nil {
			return fmt.Errorf("bench: route %v via %v in %s: %w", c.To, c.Via, c.Node, err)
		}
		return nil
	})
}

// route is the route of a call. Addresses of one's own are a route of type local
// to the loopback interface, whose number is always 1.
func (c *RoutesCall) route(dst *net.IPNet) *netlink.Route {
	if c.Via.IsValid() {
		return &netlink.Route{Dst: dst, Gw: c.Via.AsSlice()}
	}
	return &netlink.Route{Dst: dst, LinkIndex: 1, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}
}

// FileCall is a file to write in the lab.
type FileCall struct{ Path, Text string }

// File writes a file.
func (t *Tester) File(c FileCall, _ *struct{}) error {
	return os.WriteFile(c.Path, []byte(c.Text), 0o644)
}

// Resident reads the resident memory of a process, in bytes.
func (t *Tester) Resident(pid int, n *uint64) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return fmt.Errorf("bench: memory of the forwarder: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", n); err == nil {
			*n *= 1024
			return nil
		}
	}
	return fmt.Errorf("bench: no VmRSS of process %d", pid)
}

// SysctlCall is a kernel parameter to set in a node.
type SysctlCall struct{ Node, Key, Value string }

// Sysctl sets a kernel parameter.
func (t *Tester) Sysctl(c SysctlCall, _ *struct{}) error {
	return inNode(c.Node, func() error { return sysctl.Set(c.Key, c.Value) })
}

// ReachCall is a socket in a node.
type ReachCall struct{ Node, Network, Address string }

// Reach waits, for up to five seconds, until a socket takes connections.
func (t *Tester) Reach(c ReachCall, _ *struct{}) error {
	return inNode(c.Node, func() error {
		for try := 0; ; try++ {
			conn, err := net.Dial(c.Network, c.Address)
			if err == nil {
				return conn.Close()
			}
			if try == 100 {
				return fmt.Errorf("bench: %s of %s: %w", c.Address, c.Node, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}
