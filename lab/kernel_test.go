package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
	"uvs/internal/kernelvm"
	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
)

// How a site moves from the kernel to a director and, should it have to, back: both synchronize
// their connections, the virtual addresses change sides, and the connections of clients with
// real TCP stacks go on. The kernel is a real one, in a virtual machine that is a node of the lab.

// kernelSlowness is how long an answer by way of the virtual machine may take. Its processor is
// emulated, and stands still now and then: then TCP repeats what it has lost.
const kernelSlowness = 3 * time.Minute

// movedMethods are those that both sides have.
var movedMethods = []string{"-m", "-g", "-i"}

// movedGateway is that of the servers by NAT, which changes sides with the virtual addresses.
const movedGateway = "192.168.166.130"

// kernelPair is a director and a kernel with the same services.
type kernelPair struct {
	t      *testing.T
	l      *lab.Lab
	kernel *kernelvm.Shell
}

// kernelTopology is the one with all methods, its director without the gateway's address, and
// a node for the virtual machine.
func kernelTopology() lab.Topology {
	t := mixedTopology()
	t.Name = "kernel-pair"
	for i := range t.Networks {
		t.Networks[i].NoOffload = true // the machine's device expects frames as they are on the wire
	}
	t.Nodes = t.Nodes[:4]
	d := t.Node("director")
	d.Forward = false
	d.Interfaces[1].Addresses[0] = lab.Address{Prefix: netip.MustParsePrefix("192.168.166.126/24")}
	t.Nodes = append(t.Nodes, lab.Node{Name: "kernel", Interfaces: []lab.Interface{{Network: "outside"}, {Network: "inside"}}})
	return t
}

func startKernelPair(t *testing.T) *kernelPair {
	p := &kernelPair{t: t, l: labtest.Start(t, kernelTopology())}
	labtest.NeedIP(t)
	p.boot()
	c := p.l.Command("director", "uvs", "director", "--vip-role", "host", "--gro", "off")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Signal(unix.SIGKILL) })
	nstest.Eventually(t, "a director answers", func() bool {
		_, err := p.l.Exec("director", "ipvsadm", "-Ln")
		return err == nil
	})
	p.onDirector(p.services() + p.daemons())
	vip := soakVIPs["--fullnat"]
	p.onDirector(commands(service("-t", vip+":80", "--fullnat", "rr", 1, 2)) + "ip addr add " + vip + "/32 dev eth0\n")
	p.onKernel(`modprobe ip_vs; modprobe ip_vs_rr
		sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.send_redirects=0
		for i in 0 1; do ip link set eth$i up; sysctl -qw net.ipv4.conf.eth$i.rp_filter=0 net.ipv4.conf.eth$i.send_redirects=0; done
		ip addr add 172.16.253.60/16 dev eth0; ip addr add 192.168.166.127/24 dev eth1
	` + p.services() + p.daemons())
	return p
}

// boot begins the virtual machine, whose devices are joined to the interfaces of its node.
func (p *kernelPair) boot() {
	p.t.Helper()
	vm := kernelvm.VM{Out: p.t.TempDir()}
	if err := os.Chmod(vm.Out, 0o777); err != nil {
		p.t.Fatal(err)
	}
	for i := range p.l.Topology.Node("kernel").Interfaces {
		wire, device, err := kernelvm.Wire()
		if err != nil {
			p.t.Fatal(err)
		}
		device.MAC = fmt.Sprintf("02:00:00:98:00:%02d", i)
		vm.Devices = append(vm.Devices, device)
		p.join(wire, fmt.Sprint("eth", i))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	p.kernel = vm.Shell(ctx)
	p.t.Cleanup(func() {
		defer cancel()
		if err := p.kernel.Close(); err != nil {
			p.t.Error(err)
		}
	})
}

// join joins a wire to an interface of the kernel's node.
func (p *kernelPair) join(wire net.Conn, iface string) {
	p.t.Helper()
	index, err := strconv.Atoi(strings.TrimSpace(labtest.Exec(p.t, p.l, "kernel", "cat", "/sys/class/net/"+iface+"/ifindex")))
	if err != nil {
		p.t.Fatal(err)
	}
	f, err := p.l.Socket("kernel", unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	controlErr := raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err == nil {
			err = unix.Bind(int(fd), &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL << 8, Ifindex: index})
		}
	})
	if controlErr != nil || err != nil {
		p.t.Fatal(controlErr, err)
	}
	p.t.Cleanup(func() { wire.Close(); f.Close() })
	go carry(wire, f)
	go carry(f, wire)
}

// carry carries frames until it finds no more. What cannot be sent is lost.
func carry(to io.Writer, from io.Reader) {
	for b := make([]byte, 1<<16); ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		_, _ = to.Write(b[:n])
	}
}

// services are the commands for the services that both sides have.
func (p *kernelPair) services() (script string) {
	for _, method := range movedMethods {
		script += commands(service("-t", soakVIPs[method]+":80", method, "rr", 1, 2))
	}
	return script
}

// commands returns rules as commands of ipvsadm.
func commands(rules string) (script string) {
	for line := range strings.Lines(rules) {
		script += "ipvsadm " + line
	}
	return script
}

// daemons are the commands for synchronization. Ten packets after one message about a connection the
// next is sent, should it have been lost.
func (p *kernelPair) daemons() (script string) {
	for _, state := range []string{"master", "backup"} {
		script += "ipvsadm --start-daemon " + state + " --mcast-interface eth1 --syncid 7\n"
	}
	return script + "sysctl -qw net.ipv4.vs.sync_threshold='3 10'\n"
}

func (p *kernelPair) onDirector(script string) string {
	p.t.Helper()
	return sh(p.t, p.l, "director", script)
}

func (p *kernelPair) onKernel(script string) string {
	p.t.Helper()
	out, err := p.kernel.Run(script)
	if err != nil {
		p.t.Fatalf("%s\n%s%v", script, out, err)
	}
	return out
}

// move gives the addresses from one side to the other, as keepalived does. The others learn of
// that by forgetting where the addresses were.
func (p *kernelPair) move(from, to func(script string) string) {
	p.t.Helper()
	change := func(what string) (script string) {
		for _, method := range movedMethods {
			script += "ip addr " + what + " " + soakVIPs[method] + "/32 dev eth0\n"
		}
		return script + "ip addr " + what + " " + movedGateway + "/32 dev eth1\n"
	}
	if from != nil {
		from(change("del"))
	}
	to(change("add"))
	want := strings.Contains(p.onDirector("ip -o addr show dev eth0"), soakVIPs["-m"])
	nstest.Eventually(p.t, "the director's role follows its addresses", func() bool { return p.answers() == want })
	for _, node := range []string{"client", "rs1", "rs2"} {
		sh(p.t, p.l, node, "ip neigh flush all")
	}
}

// answers reports whether the director answers for the addresses that move.
func (p *kernelPair) answers() bool {
	var all []config.VIP
	if err := json.Unmarshal([]byte(p.onDirector("uvs vip --json")), &all); err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for _, v := range all {
		if v.Answers && slices.ContainsFunc(movedMethods, func(m string) bool { return soakVIPs[m] == v.Service.Addr.String() }) {
			n++
		}
	}
	return n == len(movedMethods)
}

// open opens two connections by each method.
func (p *kernelPair) open(methods ...string) (all []*session) {
	p.t.Helper()
	for _, method := range methods {
		for range 2 {
			all = append(all, openSessionWithin(p.t, p.l, soakVIPs[method]+":80", kernelSlowness))
		}
	}
	return all
}

// awaitKnown waits until a side knows connections, which go on meanwhile.
func (p *kernelPair) awaitKnown(who string, list func(script string) string, all []*session) {
	p.t.Helper()
	end := time.Now().Add(kernelSlowness)
	for {
		known := map[string]bool{}
		for line := range strings.Lines(list("ipvsadm -Lcn")) {
			if f := strings.Fields(line); len(f) == 6 && f[2] == "ESTABLISHED" {
				known[f[3]+" "+f[4]] = true
			}
		}
		missing := slices.DeleteFunc(slices.Clone(all), func(s *session) bool {
			return known[s.LocalAddr().String()+" "+s.RemoteAddr().String()]
		})
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s does not learn of %d of %d connections:\n%s", who, len(missing), len(all), list("ipvsadm -Lcn"))
		}
		p.ask("while "+who+" learns of it", missing)
	}
}

// ask asks on each connection, whose server has to be the one that it began with.
func (p *kernelPair) ask(when string, all []*session) {
	p.t.Helper()
	for _, s := range all {
		if server, err := s.ask(kernelSlowness); err != nil || server != s.server {
			p.t.Fatalf("%s: the connection to %s, which had %s: %q, %v", when, s.RemoteAddr(), s.server, server, err)
		}
	}
}

func TestARealKernelAndADirectorTakeEachOthersPlace(t *testing.T) {
	kernelvm.Need(t)
	p := startKernelPair(t)
	p.move(nil, p.onKernel)
	first := p.open(movedMethods...)
	p.awaitKnown("the director", p.onDirector, first)

	p.move(p.onKernel, p.onDirector)
	p.ask("the director has taken over", first)
	second := p.open(movedMethods...)
	full := p.open("--fullnat")
	p.ask("by FULLNAT", full)
	p.awaitKnown("the kernel", p.onKernel, slices.Concat(first, second))
	if list := p.onKernel("ipvsadm -Lcn"); strings.Contains(list, soakVIPs["--fullnat"]) {
		t.Errorf("the kernel keeps connections by FULLNAT, which it cannot forward:\n%s", list)
	}

	p.move(p.onDirector, p.onKernel)
	p.ask("the kernel has taken over", slices.Concat(first, second))
	third := p.open(movedMethods...)
	p.awaitKnown("the director", p.onDirector, third)

	p.move(p.onKernel, p.onDirector)
	p.ask("the director has them again", slices.Concat(first, second, third, full))
}
