package bench

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/rpc"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"uvs/lab"
)

// bed is a running lab with a tester and one lane for each process that is
// measured.
type bed struct {
	lab    *lab.Lab
	rpc    *rpc.Client
	tester *lab.Cmd
	lanes  map[string]*running // by Target.process
	cpus   placement
	table  int // connections a director has room for; 0: its default
	logs   io.Writer
}

// running is a lane whose forwarder runs.
type running struct {
	lane
	pid   int // in the lab, 0 if the kernel forwards
	cmd   *lab.Cmd
	ports map[Target]uint16 // of the services for each target
	cases int               // services that measures have made besides
	used  uint32            // flows that trials of new connections have used

	opened map[Target]int // flows whose connections have been opened beforehand
}

// placement says on which CPU each process runs; -1 is anywhere.
type placement struct {
	Tester    int `json:"tester"`
	Forwarder int `json:"forwarder"`
}

// place gives generator and forwarder a CPU each, where there are two to have.
func place(workers int) placement {
	cpus := allowedCPUs()
	if len(cpus) < 2 || workers > 1 {
		return placement{-1, -1}
	}
	return placement{cpus[0], cpus[1]}
}

// newBed builds the lab for the targets and starts all that is measured.
func newBed(ctx context.Context, o *Options) (*bed, error) {
	lanes, first := planLanes(o)
	l, err := lab.Start(topology(lanes), lab.Config{Program: o.Program})
	if err != nil {
		return nil, err
	}
	b := &bed{lab: l, lanes: map[string]*running{}, cpus: o.place(), table: o.Table, logs: o.Log}
	if err := b.start(ctx, o.Targets, first); err != nil {
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
		name := t.process()
		i, ok := at[name]
		if !ok {
			i = len(lanes)
			at[name] = i
			lanes = append(lanes, lane{number: i, node: nodeName(name), servers: max(o.Servers, 1), locals: o.locals(),
				forward: !t.ours() && t.Method != Null, plain: t.Plain})
		}
		lanes[i].direct = lanes[i].direct || t.direct()
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

func (b *bed) start(ctx context.Context, targets []Target, lanes map[string]lane) error {
	if err := b.startTester(); err != nil {
		return err
	}
	for _, l := range lanes {
		if err := b.routes(l); err != nil {
			return err
		}
	}
	for _, t := range targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := b.lanes[t.process()]
		if r == nil {
			r = &running{lane: lanes[t.process()], ports: map[Target]uint16{}, opened: map[Target]int{}}
			b.lanes[t.process()] = r
			if err := b.launch(r, t); err != nil {
				return fmt.Errorf("start %v: %w", t, err)
			}
		}
		r.ports[t] = uint16(firstPort + len(r.ports))
		if err := b.configure(r, t); err != nil {
			return fmt.Errorf("configure %v: %w", t, err)
		}
	}
	return nil
}

// routes gives client and server their ways through a lane. What a director
// sends on unchanged is answered by the server itself, as the virtual address:
// direct.go says how.
func (b *bed) routes(l lane) error {
	calls := []RoutesCall{
		{Node: serverNode, To: l.outsidePrefix(), Via: l.middleInside()},
		{Node: clientNode, To: netip.PrefixFrom(inside(l.number, 0), 24), Via: outside(l.number, middleHost)},
	}
	if l.wide() {
		calls = append(calls, RoutesCall{Node: serverNode, To: l.farServers()})
	}
	for _, c := range calls {
		if err := b.rpc.Call("Tester.Route", c, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// startTester starts the tester in the client.
func (b *bed) startTester() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bench: socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "tester"), os.NewFile(uintptr(fds[1]), "tester")
	defer theirs.Close()
	b.tester = b.command(clientNode, b.cpus.Tester, "uvs", "bench", "tester")
	b.tester.Stdin, b.tester.Stderr = theirs, b.logs
	if err := b.tester.Start(); err != nil {
		ours.Close()
		return err
	}
	b.rpc = rpc.NewClient(ours)
	return nil
}

// command is a command in a node on a CPU.
func (b *bed) command(node string, cpu int, argv ...string) *lab.Cmd {
	return b.lab.Command(node, append([]string{"uvs", "bench", "on", "--cpu=" + strconv.Itoa(cpu), "--"}, argv...)...)
}

// launch starts what forwards in a lane.
func (b *bed) launch(r *running, t Target) error {
	switch t.Method {
	case Route:
		return nil
	case Null:
		return b.launchNull(r, t)
	case DNAT:
		return b.launchDNAT(r)
	case HAProxy:
		return b.launchHAProxy(r)
	case Nginx:
		return b.launchNginx(r)
	case KernelNAT, KernelDR, KernelTunnel:
		return b.launchIPVS(r, t.Method)
	}
	return b.launchDirector(r, t)
}

func (b *bed) launchNull(r *running, t Target) error {
	var to, back string
	if err := b.rpc.Call("Tester.MAC", LinkCall{serverNode, r.serverLink()}, &to); err != nil {
		return err
	}
	if err := b.rpc.Call("Tester.MAC", LinkCall{clientNode, r.clientLink()}, &back); err != nil {
		return err
	}
	argv := []string{t.binary(), "bench", "null", "--to", to, "--vip", r.vip().String(), "--profile", t.profile()}
	if t.IO == "socket" {
		argv = append(argv, "--io", t.IO)
	}
	if t.Program == "" { // an older one may not know it
		argv = append(argv, "--back", back)
	}
	return b.run(r, argv, "ready")
}

// launchDirector starts a director of its own for the target.
func (b *bed) launchDirector(r *running, t Target) error {
	argv := []string{t.binary(), "director", "--profile", t.profile(), "--workers", strconv.Itoa(max(t.Workers, 1))}
	if t.IO != "" {
		argv = append(argv, "--io", t.IO)
	}
	if b.table > 0 {
		argv = append(argv, "--conns", strconv.Itoa(b.table))
	}
	if err := b.run(r, argv, ""); err != nil {
		return err
	}
	return b.await(r)
}

// binary is the uvs that the target runs.
func (t Target) binary() string {
	if t.Program == "" {
		return "uvs"
	}
	path, _ := filepath.Abs(t.Program)
	return path
}

func (t Target) profile() string {
	if t.Profile == "" {
		return "latency"
	}
	return t.Profile
}

// run starts a forwarder and waits for its process number and, if ready is not
// empty, for a line that says so.
func (b *bed) run(r *running, argv []string, ready string) error {
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

// await waits until the director takes commands.
func (b *bed) await(r *running) error {
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
var methodFlag = map[Method]string{DR: "-g", NAT: "-m", Tunnel: "-i", FullNAT: "--fullnat"}

// configure makes the services of a target, as an administrator would.
func (b *bed) configure(r *running, t Target) error {
	if !t.ours() {
		return nil
	}
	service := netip.AddrPortFrom(r.vip(), r.ports[t]).String()
	var rules strings.Builder
	for _, proto := range []string{"-u", "-t"} {
		fmt.Fprintf(&rules, "-A %s %s -s %s\n", proto, service, cmp.Or(t.Scheduler, "rr"))
		if t.Method == FullNAT {
			for i := range r.locals {
				fmt.Fprintf(&rules, "--add-laddr %s %s --laddr %v\n", proto, service, r.local(i))
			}
		}
		for i := range r.servers {
			server := netip.AddrPortFrom(r.server(i), r.ports[t])
			fmt.Fprintf(&rules, "-a %s %s -r %v %s -w 1\n", proto, service, server, methodFlag[t.Method])
		}
	}
	return b.give(r, rules.String(), "ipvsadm", "-R")
}

// give runs a command in a lane's node with some input.
func (b *bed) give(r *running, input string, argv ...string) error {
	c := b.lab.Command(r.node, argv...)
	c.Stdin = strings.NewReader(input)
	_, err := c.Output()
	return err
}

// localAddresses is how many local addresses a FULLNAT service has unless told otherwise: with 60,000
// ports each, enough for a million connections.
const localAddresses = 20

// udp runs a trial.
func (b *bed) udp(t Target, load Load, warm, window time.Duration, sample int) (Trial, error) {
	c := b.call(t, load)
	c.Warm, c.Window, c.Sample = warm, window, sample
	trial := Trial{Target: t.String()}
	err := b.rpc.Call("Tester.UDP", c, &trial)
	return trial, err
}

// call describes a trial of a target: from where to where, and by whom.
func (b *bed) call(t Target, load Load) UDPCall {
	r := b.lanes[t.process()]
	port := r.ports[t]
	c := UDPCall{
		Load: load, Method: t.Method.like(), Link: r.clientLink(), Middle: r.node,
		To: netip.AddrPortFrom(r.addressed(t), port), PID: r.pid,
	}
	for i := range r.servers {
		c.Servers = append(c.Servers, netip.AddrPortFrom(r.server(i), port))
	}
	return c
}

// Close ends everything.
func (b *bed) Close() {
	if b.rpc != nil {
		b.rpc.Close()
	}
	b.lab.Close()
}
