package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control"
)

// maxConns is how many connections are looked at: a large table need not be read to its end
// to see how its connections do.
const maxConns = 10_000

// readDirector asks the director of the network namespace, if there is one.
func (h *Host) readDirector(ctx context.Context, c *client.Client) {
	about, err := c.About(ctx)
	if errors.Is(err, client.ErrNoDirector) {
		return
	}
	if err != nil {
		h.unseen("director", err)
		return
	}
	d := &Director{PID: about.PID}
	d.Services, err = c.Services(ctx)
	h.unseen("services", err)
	for _, i := range control.Introductions() {
		if i.PID == about.PID {
			d.Interfaces = i.Interfaces
		} else {
			d.meet(ctx, i)
		}
	}
	d.Lacks = lacks(about.PID)
	d.Timeouts, err = c.Timeouts(ctx)
	h.unseen("timeouts", err)
	d.Sysctls, err = c.Sysctls(ctx)
	h.unseen("parameters of net.ipv4.vs", err)
	d.Marks, err = c.Marks(ctx)
	h.unseen("mark rules", err)
	d.Counters, err = c.Counters(ctx)
	h.unseen("counters", err)
	vips, _ := c.VIPs(ctx) // an older director has none
	for _, v := range vips {
		if !v.Answers {
			d.Silent = append(d.Silent, v.Service.Addr)
		}
	}
	d.Conns, err = someConnections(ctx, c)
	h.unseen("connections", err)
	h.Director = d
}

func someConnections(ctx context.Context, c *client.Client) (some []config.Connection, err error) {
	for conn, err := range c.Connections(ctx) {
		if err != nil || len(some) == maxConns {
			return some, err
		}
		some = append(some, conn)
	}
	return some, nil
}

// readAgain asks the director once more, and notes what has changed since readDirector.
func (h *Host) readAgain(ctx context.Context, c *client.Client) {
	d := h.Director
	if after, err := c.Counters(ctx); err == nil {
		d.Rose = rose(d.Counters, after)
	}
	if after, err := c.Services(ctx); err == nil {
		d.Gained = gained(d.Services, after)
		d.Services = after
	}
	if after, err := someConnections(ctx, c); err == nil {
		d.Conns = after
	}
}

// gained compares the counters of servers.
func gained(before, after []config.ServiceState) map[string]Gain {
	was := map[string]config.Stats{}
	for i := range before {
		for j := range before[i].Servers {
			was[serverName(&before[i], &before[i].Servers[j])] = before[i].Servers[j].Stats
		}
	}
	g := map[string]Gain{}
	for i := range after {
		for j := range after[i].Servers {
			name, now := serverName(&after[i], &after[i].Servers[j]), after[i].Servers[j].Stats
			if old, known := was[name]; known && now.Conns > old.Conns {
				g[name] = Gain{now.Conns - old.Conns, now.InPkts - old.InPkts, now.OutPkts - old.OutPkts}
			}
		}
	}
	return g
}

// serverName names a server of a service.
func serverName(s *config.ServiceState, r *config.ServerState) string {
	return key(s) + " -r " + r.AddrPort().String()
}

// meet asks another director of the network namespace whether it serves the same addresses.
func (d *Director) meet(ctx context.Context, i control.Introduction) {
	other, err := client.New(i.Socket).Services(ctx)
	if err != nil {
		return
	}
	for _, s := range d.Services {
		if slices.ContainsFunc(other, func(o config.ServiceState) bool { return o.Addr == s.Addr && s.Addr.IsValid() }) {
			d.Others = append(d.Others, Other{i.PID, i.Socket, s.Addr})
			return
		}
	}
}

// lacks returns the capabilities that a process does not have, of those that a director
// needs; none if that cannot be read (proc_pid_status(5)).
func lacks(pid int) (names []string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, found := strings.Cut(string(b), "\nCapEff:")
	caps, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 16, 64)
	if !found || err != nil || !strings.Contains(string(b), "Name:\tuvs") {
		return nil
	}
	for name, bit := range map[string]uint{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_RAW": unix.CAP_NET_RAW} {
		if caps&(1<<bit) == 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// named returns the addresses that the configuration names, and those of clients.
func (d *Director) named() (all []netip.Addr) {
	for i := range d.Services {
		all = append(all, d.Services[i].Addr)
		all = append(all, d.Services[i].Local...)
		for j := range d.Services[i].Servers {
			all = append(all, d.Services[i].Servers[j].Addr)
		}
	}
	const clients = 64 // enough to know their networks
	for i := range min(len(d.Conns), clients) {
		all = append(all, d.Conns[i].Client.Addr())
	}
	return all
}

// sysctl returns a parameter of net.ipv4.vs, empty if it is unknown.
func (d *Director) sysctl(name string) string {
	for _, s := range d.Sysctls {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

// rose returns which counters rose between two readings, and by how much.
func rose(before, after map[string]uint64) map[string]uint64 {
	r := map[string]uint64{}
	for name, n := range after {
		if n > before[name] {
			r[name] = n - before[name]
		}
	}
	return r
}

// key returns the service in ipvsadm's words.
func key(s *config.ServiceState) string { return s.Key.String() }
