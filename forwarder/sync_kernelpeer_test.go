package forwarder

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/syncnet"
	"uvs/internal/kernelvm"
)

// kernelPeer is a Linux with IPVS in a virtual machine: eth0 is on the segment where
// directors synchronize, eth1 towards clients and eth2 towards servers.
type kernelPeer struct {
	t     *testing.T
	shell *kernelvm.Shell
	wires [3]net.Conn

	mu        sync.Mutex
	receivers map[netip.AddrPort][]chan sentDatagram
	out       [3]chan []byte // IPv4 and IPv6 frames from it
}

// What the VM does first.
const kernelSetup = `
modprobe ip_vs; modprobe ip_vs_rr; modprobe ip_vs_ftp; modprobe nf_conntrack 2>/dev/null || :
for i in 0 1 2; do ip link set eth$i up; sysctl -qw net.ipv4.conf.eth$i.rp_filter=0 net.ipv6.conf.eth$i.accept_dad=0; done
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip addr add 10.99.0.2/24 dev eth0
ip addr add 172.31.255.254/12 dev eth1; ip addr add 10.1.255.254/16 dev eth2
ip -6 addr add fd00:c::fffe/64 dev eth1 nodad; ip -6 addr add fd00:1::fffe/64 dev eth2 nodad
for v in 1 9 100; do ip addr add 10.2.0.$v/32 dev lo; done; ip -6 addr add fd00:2::1/128 dev lo nodad
ip neigh replace 172.16.0.9 lladdr 02:00:00:02:00:01 nud permanent dev eth1
ip neigh replace fd00:c::9 lladdr 02:00:00:02:00:01 nud permanent dev eth1
for s in 1 2; do ip neigh replace 10.1.0.$s lladdr 02:00:00:01:00:0$s nud permanent dev eth2; done
ip neigh replace fd00:1::1 lladdr 02:00:00:01:00:01 nud permanent dev eth2
`

func newKernelPeer(t *testing.T) *kernelPeer {
	kernelvm.Need(t)
	k := &kernelPeer{t: t, receivers: map[netip.AddrPort][]chan sentDatagram{}}
	vm := kernelvm.VM{Out: t.TempDir()}
	mustDo(t, os.Chmod(vm.Out, 0o777))
	for i := range k.wires {
		wire, device, err := kernelvm.Wire()
		mustDo(t, err)
		device.MAC = fmt.Sprintf("02:00:00:99:00:%02d", i)
		vm.Devices = append(vm.Devices, device)
		k.wires[i], k.out[i] = wire, make(chan []byte, 1<<12)
		go k.read(i)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	k.shell = vm.Shell(ctx)
	t.Cleanup(func() {
		defer cancel()
		mustDo(t, k.shell.Close())
		for _, w := range k.wires {
			w.Close()
		}
	})
	k.run(kernelSetup)
	return k
}

// run runs shell commands in the VM.
func (k *kernelPeer) run(commands string) string {
	k.t.Helper()
	out, err := k.shell.Run(commands)
	if err != nil {
		k.t.Fatalf("%s:\n%s%v", commands, out, err)
	}
	return out
}

// apply runs lines of ipvsadm's words.
func (k *kernelPeer) apply(lines string) {
	k.t.Helper()
	var all strings.Builder
	for line := range strings.Lines(lines) {
		fmt.Fprintf(&all, "ipvsadm %s\n", strings.ReplaceAll(strings.TrimSpace(line), "[", "'['"))
	}
	k.run(strings.ReplaceAll(all.String(), "'['", "["))
}

// read takes the frames that leave the VM by a device.
func (k *kernelPeer) read(device int) {
	for b := make([]byte, 1<<16); ; {
		n, err := k.wires[device].Read(b)
		if err != nil {
			return
		}
		f := slices.Clone(b[:n])
		if device == 0 {
			k.receive(f)
			continue
		}
		if kind := binary.BigEndian.Uint16(f[12:]); f[0]&1 != 0 || kind == frame.EtherIPv6 && f[20] == frame.ProtoICMPv6 || kind == frame.EtherARP {
			continue
		}
		select {
		case k.out[device] <- f:
		default:
		}
	}
}

// receive gives a datagram of the segment to those who have joined its group.
func (k *kernelPeer) receive(f []byte) {
	const ip, udp = frame.EthernetLen, frame.EthernetLen + 20
	if len(f) < udp+8 || binary.BigEndian.Uint16(f[12:]) != frame.EtherIPv4 || f[ip+9] != frame.ProtoUDP {
		return
	}
	from, _ := netip.AddrFromSlice(f[ip+12 : ip+16])
	to, _ := netip.AddrFromSlice(f[ip+16 : ip+20])
	length := int(binary.BigEndian.Uint16(f[udp+4:]))
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.receivers[netip.AddrPortFrom(to, binary.BigEndian.Uint16(f[udp+2:]))] {
		r <- sentDatagram{f[udp+8 : udp+length], from}
	}
}

// Sender and Receiver make it the Net of a director on its segment.
func (k *kernelPeer) Sender(g syncnet.Group) (syncnet.Conn, error) {
	return kernelConn{syncPeer: &syncPeer{syncHost: syncHost{syncSegment: &syncSegment{}}, group: g.Addr, gone: make(chan struct{})}, kernel: k}, nil
}

func (k *kernelPeer) Receiver(g syncnet.Group) (syncnet.Conn, error) {
	c := kernelConn{syncPeer: &syncPeer{syncHost: syncHost{syncSegment: &syncSegment{}}, group: g.Addr, gone: make(chan struct{}),
		in: make(chan sentDatagram, 1<<12)}, kernel: k}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.receivers[g.Addr] = append(k.receivers[g.Addr], c.in)
	return c, nil
}

type kernelConn struct {
	*syncPeer
	kernel *kernelPeer
}

func (c kernelConn) Write(b []byte) (int, error) {
	f := frametest.Packet{Src: "10.99.0.1:40000", Dst: c.group.String(), SrcMAC: [6]byte{2, 0, 0, 0x99, 1}, DstMAC: [6]byte{1, 0, 0x5e, 0, 0, 0x51},
		TTL: 1, Transport: &layers.UDP{}, Data: string(b)}
	if _, err := c.kernel.wires[0].Write(f.Bytes()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// send has a client's packet come to the VM, and returns what it sends to servers.
func (k *kernelPeer) send(p []byte) []byte {
	k.t.Helper()
	return k.pass(1, 2, p)
}

// answer has a server's packet come to the VM, and returns what it sends to clients.
func (k *kernelPeer) answer(p []byte) []byte {
	k.t.Helper()
	return k.pass(2, 1, p)
}

// pass has a packet come by one device, and returns what leaves by another. A VM that stands
// still loses frames: the packet comes again then.
func (k *kernelPeer) pass(from, to int, p []byte) []byte {
	k.t.Helper()
	for len(k.out[to]) > 0 {
		<-k.out[to]
	}
	f := slices.Clone(p)
	copy(f, []byte{2, 0, 0, 0x99, 0, byte(from)})
	for range 6 {
		_, err := k.wires[from].Write(f)
		mustDo(k.t, err)
		select {
		case out := <-k.out[to]:
			return out
		case <-time.After(10 * time.Second):
		}
	}
	k.t.Error("the kernel forwards nothing")
	return nil
}

// list lists the kernel's connections as conns does.
func (k *kernelPeer) list() (all []string) {
	for line := range strings.Lines(k.run("ipvsadm -Lcn")) {
		w := strings.Fields(line)
		if len(w) == 6 && w[0] != "pro" {
			all = append(all, strings.Join([]string{w[0], w[2], w[3], w[4], w[5]}, " "))
		}
	}
	slices.Sort(all)
	return all
}

// listOf lists a director's connections likewise.
func listOf(b *testbed) (all []string) {
	for line := range strings.Lines(b.ipvsadm("-Lcn")) {
		w := strings.Fields(line)
		if len(w) == 6 && w[0] != "pro" {
			all = append(all, strings.Join([]string{w[0], w[2], w[3], w[4], w[5]}, " "))
		}
	}
	slices.Sort(all)
	return all
}

// without leaves out the lines with one of some words.
func without(lines []string, words string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		return slices.ContainsFunc(strings.Fields(words), func(w string) bool { return slices.Contains(strings.Fields(line), w) })
	})
}

// leaveOf returns the states of templates in version 0, which does not carry them.
func leaveOf(version string) string {
	if version == "0" {
		return "NONE ASSURED"
	}
	return ""
}

// expectEqual waits until both lists are the same.
func (k *kernelPeer) expectEqual(because string, b *testbed, least int, leave string) {
	k.t.Helper()
	if diff := k.differ(b, least, leave); diff != "" {
		k.t.Errorf("%s: the lists differ (-kernel +director):\n%s", because, diff)
	}
}

// differ waits until both lists are the same, with at least so many connections, and
// returns how they differ if they stay different.
func (k *kernelPeer) differ(b *testbed, least int, leave string) string {
	var theirs, ours []string
	for range 40 {
		theirs, ours = without(k.list(), leave), without(listOf(b), leave)
		if slices.Equal(theirs, ours) && len(ours) >= least {
			return ""
		}
		time.Sleep(300 * time.Millisecond)
	}
	return fmt.Sprintf("the director has %d connections of at least %d\n%s", len(ours), least, cmp.Diff(theirs, ours))
}
