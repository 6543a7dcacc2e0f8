package bench

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"

	"golang.org/x/sys/unix"

	"uvs/lab"
)

// testbed is a running lab with a tester and one lane for each process that is
// measured.
type testbed struct {
	lab    *lab.Lab
	calls  *load.Caller // of the tester
	tester *lab.Cmd
	lanes  map[string]*running // by Target.process
	cpus   report.Placement
	table  int // connections a director has room for; 0: its default
	logs   io.Writer
}

// running is a lane whose forwarder runs.
type running struct {
	lane
	pid   int // in the lab, 0 if the kernel forwards
	cmd   *lab.Cmd
	ports map[load.Target]uint16 // of the services for each target
	cases int                    // services that measures have made besides
	used  uint32                 // flows that trials of new connections have used

	opened map[load.Target]int // flows whose connections have been opened beforehand
}

// place gives generator and forwarder a CPU each, where there are two to have.
func place(workers int) report.Placement {
	cpus := load.AllowedCPUs()
	if len(cpus) < 2 || workers > 1 {
		return report.Placement{Tester: -1, Forwarder: -1}
	}
	return report.Placement{Tester: cpus[0], Forwarder: cpus[1]}
}

// newTestbed builds the lab for the targets and starts all that is measured.
func newTestbed(ctx context.Context, o *Options, f *failures) (*testbed, error) {
	lanes, first := planLanes(o)
	l, err := lab.Start(o.impaired(topology(lanes)), lab.Config{Program: o.Program})
	if err != nil {
		return nil, err
	}
	b := &testbed{lab: l, lanes: map[string]*running{}, cpus: o.place(), table: o.Table, logs: o.Log}
	if err := b.start(ctx, o.Targets, first, f); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// planLanes gives each process a lane. They are returned by the process's name
// as well.
func planLanes(o *Options) ([]lane, map[string]lane) {
	var lanes []lane
	at := map[string]int{}
	for _, t := range o.Targets {
		name := t.Process()
		i, ok := at[name]
		if !ok {
			i = len(lanes)
			at[name] = i
			lanes = append(lanes, lane{number: i, node: nodeName(name), servers: max(o.Servers, 1), locals: o.locals(),
				forward: !t.IsDirector() && t.Method != load.Null, plain: t.Plain})
		}
		lanes[i].direct = lanes[i].direct || t.DirectReturn()
	}
	first := map[string]lane{}
	for name, i := range at {
		first[name] = lanes[i]
	}
	return lanes, first
}

// nodeName makes a host name of a process's name.
func nodeName(process string) string {
	return strings.NewReplacer("/", "-", "_", "-").Replace(process)
}

// start starts the tester and all that is measured. What cannot be started has
// failed, and does not keep the others from it.
func (b *testbed) start(ctx context.Context, targets []load.Target, lanes map[string]lane, f *failures) error {
	if err := b.startTester(); err != nil {
		return err
	}
	for _, l := range lanes {
		if err := b.routes(l); err != nil {
			return err
		}
	}
	failed := map[string]error{} // by process
	for _, t := range targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := t.Process()
		err := failed[name]
		if err == nil && b.lanes[name] == nil {
			err = b.startLane(name, lanes[name], t)
			failed[name] = err
		}
		if err == nil {
			err = b.addTarget(b.lanes[name], t)
		}
		if err != nil {
			f.add(&t, 0, err)
		}
	}
	return nil
}

// startLane starts what forwards in a lane.
func (b *testbed) startLane(name string, l lane, t load.Target) error {
	r := &running{lane: l, ports: map[load.Target]uint16{}, opened: map[load.Target]int{}}
	if err := b.launch(r, t); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	b.lanes[name] = r
	return nil
}

// addTarget gives a target a port in its lane, and makes its services.
func (b *testbed) addTarget(r *running, t load.Target) error {
	r.ports[t] = uint16(firstPort + len(r.ports))
	if err := b.configure(r, t); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return nil
}

// routes gives client and server their routes through a lane. What a director
// sends on unchanged is answered by the server itself, as the virtual address:
// direct_return.go says how.
func (b *testbed) routes(l lane) error {
	calls := []load.RoutesCall{
		{Node: load.ServerNode, To: l.outsidePrefix(), Via: l.middleInside()},
		{Node: load.ClientNode, To: netip.PrefixFrom(inside(l.number, 0), 24), Via: outside(l.number, middleHost)},
	}
	if l.wide() {
		calls = append(calls, load.RoutesCall{Node: load.ServerNode, To: l.farServers()})
	}
	for _, c := range calls {
		if err := b.calls.Call("Route", c, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// startTester starts the tester in the client.
func (b *testbed) startTester() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bench: socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "tester"), os.NewFile(uintptr(fds[1]), "tester")
	defer theirs.Close()
	b.tester = b.command(load.ClientNode, b.cpus.Tester, "uvs", "bench", "tester")
	b.tester.Stdin, b.tester.Stderr = theirs, b.logs
	if err := b.tester.Start(); err != nil {
		ours.Close()
		return err
	}
	b.calls = load.NewCaller(ours)
	return nil
}

// command is a command in a node on a CPU.
func (b *testbed) command(node string, cpu int, argv ...string) *lab.Cmd {
	return b.lab.Command(node, append([]string{"uvs", "bench", "on", "--cpu=" + strconv.Itoa(cpu), "--"}, argv...)...)
}

// launch starts what forwards in a lane.
func (b *testbed) launch(r *running, t load.Target) error {
	switch t.Method {
	case load.Route:
		return nil
	case load.Null:
		return b.launchNull(r, t)
	case load.DNAT:
		return b.launchDNAT(r)
	case load.HAProxy:
		return b.launchHAProxy(r)
	case load.Nginx:
		return b.launchNginx(r)
	case load.KernelNAT, load.KernelDR, load.KernelTunnel:
		return b.launchIPVS(r, t.Method)
	}
	return b.launchDirector(r, t)
}

func (b *testbed) launchNull(r *running, t load.Target) error {
	var to, back string
	if err := b.calls.Call("MAC", load.LinkCall{Node: load.ServerNode, Link: r.serverLink()}, &to); err != nil {
		return err
	}
	if err := b.calls.Call("MAC", load.LinkCall{Node: load.ClientNode, Link: r.clientLink()}, &back); err != nil {
		return err
	}
	argv := []string{program(t), "bench", "null", "--to", to, "--vip", r.vip().String(), "--profile", profile(t)}
	if t.IO == "socket" {
		argv = append(argv, "--io", t.IO)
	}
	if t.Program == "" { // an older one may not know it
		argv = append(argv, "--back", back)
	}
	return b.startForwarder(r, argv, "ready")
}

// launchDirector starts a director of its own for the target.
func (b *testbed) launchDirector(r *running, t load.Target) error {
	argv := []string{program(t), "director", "--profile", profile(t), "--workers", strconv.Itoa(max(t.Workers, 1))}
	if t.IO != "" {
		argv = append(argv, "--io", t.IO)
	}
	if t.Stateless {
		argv = append(argv, "--state", "none")
	}
	if b.table > 0 {
		argv = append(argv, "--conns", strconv.Itoa(b.table))
	}
	if err := b.startForwarder(r, argv, ""); err != nil {
		return err
	}
	return b.waitReady(r)
}

// startForwarder starts a forwarder and waits until it has printed its process
// number and, if ready is not empty, that line.
func (b *testbed) startForwarder(r *running, argv []string, ready string) error {
	out, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	r.cmd = b.command(r.node, b.cpus.Forwarder, argv...)
	r.cmd.Stdout, r.cmd.Stderr = w, b.logs
	err = r.cmd.Start()
	w.Close()
	if err != nil {
		out.Close()
		return err
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return errors.New("bench: the forwarder ended at once")
	}
	if r.pid, err = strconv.Atoi(lines.Text()); err != nil {
		return fmt.Errorf("bench: %s", lines.Text())
	}
	for ready != "" {
		if !lines.Scan() {
			return errors.New("bench: the forwarder ended before it was ready")
		}
		if lines.Text() == ready {
			break
		}
	}
	go func() { // whatever it prints later is nobody's
		_, _ = io.Copy(io.Discard, out)
		out.Close()
	}()
	return nil
}

// waitReady waits until the director takes commands.
func (b *testbed) waitReady(r *running) error {
	var err error
	for range 100 {
		if _, err = b.lab.Exec(r.node, "ipvsadm", "-Ln"); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// methodFlag are ipvsadm's words.
var methodFlag = map[load.Method]string{load.DR: "-g", load.NAT: "-m", load.Tunnel: "-i", load.FullNAT: "--fullnat"}

// configure makes the services of a target, as an administrator would.
func (b *testbed) configure(r *running, t load.Target) error {
	if !t.IsDirector() {
		return nil
	}
	service := netip.AddrPortFrom(r.vip(), r.ports[t]).String()
	var rules strings.Builder
	for _, proto := range []string{"-u", "-t"} {
		fmt.Fprintf(&rules, "-A %s %s -s %s\n", proto, service, cmp.Or(t.Scheduler, "rr"))
		if t.Method == load.FullNAT {
			for i := range r.locals {
				fmt.Fprintf(&rules, "--add-laddr %s %s --laddr %v\n", proto, service, r.local(i))
			}
		}
		for i := range r.servers {
			server := netip.AddrPortFrom(r.server(i), r.ports[t])
			fmt.Fprintf(&rules, "-a %s %s -r %v %s -w 1\n", proto, service, server, methodFlag[t.Method])
		}
	}
	return b.execInput(r, rules.String(), "ipvsadm", "-R")
}

// execInput runs a command in a lane's node with some input.
func (b *testbed) execInput(r *running, input string, argv ...string) error {
	c := b.lab.Command(r.node, argv...)
	c.Stdin = strings.NewReader(input)
	_, err := c.Output()
	return err
}

// localAddresses is how many local addresses a FULLNAT service has by default: with
// 60,000 ports each, enough for a million connections.
const localAddresses = 20

// udp runs a trial.
func (b *testbed) udp(t load.Target, offer load.Load, warm, window time.Duration, sample int) (load.Trial, error) {
	c := b.udpCall(t, offer)
	c.Warm, c.Window, c.Sample = warm, window, sample
	var trial load.Trial
	err := b.calls.Call("UDP", c, &trial)
	trial.Target = t.String()
	return trial, err
}

// udpCall describes a trial of a target: from where to where, and by whom.
func (b *testbed) udpCall(t load.Target, offer load.Load) load.UDPCall {
	r := b.lanes[t.Process()]
	port := r.ports[t]
	c := load.UDPCall{
		Load: offer, Method: t.Method.Equivalent(), Link: r.clientLink(), Middle: r.node,
		To: netip.AddrPortFrom(r.addressed(t), port), PID: r.pid,
	}
	for i := range r.servers {
		c.Servers = append(c.Servers, netip.AddrPortFrom(r.server(i), port))
	}
	return c
}

// Close ends everything.
func (b *testbed) Close() {
	if b.calls != nil {
		b.calls.Close()
	}
	b.lab.Close()
}

// program is the uvs that the target runs.
func program(t load.Target) string {
	if t.Program == "" {
		return "uvs"
	}
	path, _ := filepath.Abs(t.Program)
	return path
}

// profile is the kind of ring of a target.
func profile(t load.Target) string {
	if t.Profile == "" {
		return "latency"
	}
	return t.Profile
}
