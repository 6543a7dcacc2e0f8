package forwarder

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/syncnet"
	"uvs/internal/kernelvm"
)

// kernelPeer is a Linux with IPVS in a virtual machine: eth0 is on the segment where
// directors synchronize, eth1 towards clients and eth2 towards servers.
type kernelPeer struct {
	t     *testing.T
	dir   string // where commands go, and answers come from
	asked int
	ended chan error
	said  bytes.Buffer
	wires [3]net.Conn

	mu        sync.Mutex
	receivers map[netip.AddrPort][]chan sentDatagram
	out       [3]chan []byte // IPv4 and IPv6 frames from it
}

// What the VM does: what files say, one after the other.
const kernelScript = `
set -e
modprobe ip_vs; modprobe ip_vs_rr; modprobe ip_vs_ftp; modprobe nf_conntrack 2>/dev/null || :
for i in 0 1 2; do ip link set eth$i up; sysctl -qw net.ipv4.conf.eth$i.rp_filter=0 net.ipv6.conf.eth$i.accept_dad=0; done
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip addr add 10.99.0.2/24 dev eth0
ip addr add 172.31.255.254/12 dev eth1; ip addr add 10.1.255.254/16 dev eth2
ip -6 addr add fd00:c::fffe/64 dev eth1 nodad; ip -6 addr add fd00:1::fffe/64 dev eth2 nodad
for v in 1 9; do ip addr add 10.2.0.$v/32 dev lo; done; ip -6 addr add fd00:2::1/128 dev lo nodad
ip neigh replace 172.16.0.9 lladdr 02:00:00:02:00:01 nud permanent dev eth1
ip neigh replace fd00:c::9 lladdr 02:00:00:02:00:01 nud permanent dev eth1
for s in 1 2; do ip neigh replace 10.1.0.$s lladdr 02:00:00:01:00:0$s nud permanent dev eth2; done
ip neigh replace fd00:1::1 lladdr 02:00:00:01:00:01 nud permanent dev eth2
n=1
echo ready >$OUT/ready
while :; do
	if [ -e $OUT/$n.ask ]; then
		[ -s $OUT/$n.ask ] || exit 0
		sh $OUT/$n.ask >$OUT/$n.tmp 2>&1 || echo "status $?" >>$OUT/$n.tmp
		mv $OUT/$n.tmp $OUT/$n.answer
		n=$((n+1))
	fi
	sleep 0.05
done
`

func newKernelPeer(t *testing.T) *kernelPeer {
	kernelvm.Need(t)
	k := &kernelPeer{t: t, dir: t.TempDir(), ended: make(chan error, 1), receivers: map[netip.AddrPort][]chan sentDatagram{}}
	mustDo(t, os.Chmod(k.dir, 0o777))
	vm := kernelvm.VM{Out: k.dir, Output: &k.said}
	for i := range k.wires {
		wire, device, err := kernelvm.Wire()
		mustDo(t, err)
		device.MAC = fmt.Sprintf("02:00:00:99:00:%02d", i)
		vm.Devices = append(vm.Devices, device)
		k.wires[i], k.out[i] = wire, make(chan []byte, 1<<12)
		go k.read(i)
	}
	go func() { k.ended <- vm.Run(context.WithoutCancel(t.Context()), "sh", "-c", kernelScript) }()
	t.Cleanup(k.end)
	k.wait("ready")
	return k
}

func (k *kernelPeer) end() {
	mustDo(k.t, os.WriteFile(filepath.Join(k.dir, fmt.Sprint(k.asked+1)+".ask"), nil, 0o666))
	err := <-k.ended
	for _, w := range k.wires {
		w.Close()
	}
	if err != nil {
		k.t.Errorf("%v\n%s", err, &k.said)
	}
}

// wait waits for a file of the VM, and returns what it says.
func (k *kernelPeer) wait(name string) string {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	for {
		if b, err := os.ReadFile(path); err == nil {
			return string(b)
		}
		select {
		case err := <-k.ended:
			k.ended <- err
			k.t.Fatalf("the VM ended: %v\n%s", err, &k.said)
		case <-k.t.Context().Done():
			k.t.Fatal("no answer")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// run runs shell commands in the VM.
func (k *kernelPeer) run(commands string) string {
	k.t.Helper()
	k.asked++
	path := filepath.Join(k.dir, fmt.Sprint(k.asked))
	mustDo(k.t, os.WriteFile(path+".new", []byte("set -e\n"+commands), 0o666))
	mustDo(k.t, os.Rename(path+".new", path+".ask"))
	out := k.wait(fmt.Sprint(k.asked) + ".answer")
	if strings.Contains(out, "status ") {
		k.t.Fatalf("%s:\n%s", commands, out)
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
	for len(k.out[2]) > 0 {
		<-k.out[2]
	}
	f := slices.Clone(p)
	copy(f, []byte{2, 0, 0, 0x99, 0, 1})
	_, err := k.wires[1].Write(f)
	mustDo(k.t, err)
	select {
	case out := <-k.out[2]:
		return out
	case <-time.After(10 * time.Second):
		k.t.Error("the kernel forwards nothing")
		return nil
	}
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
	var theirs, ours []string
	for range 20 {
		theirs, ours = without(k.list(), leave), without(listOf(b), leave)
		if slices.Equal(theirs, ours) && len(ours) >= least {
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
	k.t.Errorf("%s: %d connections, and the lists differ (-kernel +director):\n%s", because, len(ours), cmp.Diff(theirs, ours))
}

const kernelRules = `-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m
-A -t 10.2.0.1:81 -s rr
-a -t 10.2.0.1:81 -r 10.1.0.1:81 -g
-A -t 10.2.0.1:82 -s rr
-a -t 10.2.0.1:82 -r 10.1.0.1:82 -i
-A -t 10.2.0.1:443 -s rr -p 300
-a -t 10.2.0.1:443 -r 10.1.0.1:443 -m
-a -t 10.2.0.1:443 -r 10.1.0.2:443 -m
-A -u 10.2.0.1:53 -s rr
-a -u 10.2.0.1:53 -r 10.1.0.1:53 -m
-A -t [fd00:2::1]:80 -s rr
-a -t [fd00:2::1]:80 -r [fd00:1::1]:80 -m
-A -f 5 -s rr -p 100
-a -f 5 -r 10.1.0.1 -m
`

// kernelFlows are what clients do: some connections of each kind.
func kernelFlows(t *testing.T) (all [][]byte) {
	for i := range 6 {
		for _, c := range []struct{ client, virtual string }{
			{"172.16.0.9", "10.2.0.1:80"}, {"172.16.0.9", "10.2.0.1:81"}, {"172.16.0.9", "10.2.0.1:82"},
			{"172.16.0.9", "10.2.0.1:443"}, {"[fd00:c::9]", "[fd00:2::1]:80"}, {"172.16.0.9", "10.2.0.9:99"},
		} {
			client := fmt.Sprintf("%s:%d", c.client, 2000+i)
			all = append(all, at(t, 1, client, c.virtual, syn, 999, 0, ""), at(t, 1, client, c.virtual, ack, 1000, 5001, ""),
				at(t, 1, client, c.virtual, ack, 1000, 5001, "hello"))
			if i == 3 {
				all = append(all, at(t, 1, client, c.virtual, ack|frame.FlagFIN, 1005, 5001, ""))
			}
			if i == 4 {
				all = append(all, at(t, 1, client, c.virtual, frame.FlagRST, 1005, 0, ""))
			}
		}
		for range 4 {
			all = append(all, dgram(t, 1, fmt.Sprintf("172.16.0.9:%d", 3000+i), "10.2.0.1:53", "query"))
		}
	}
	return all
}

// expectTakeOver has one more packet of each connection come to both, which have to do
// the same with it.
func (k *kernelPeer) expectTakeOver(b *testbed) {
	k.t.Helper()
	for _, c := range []struct{ name, client, virtual string }{
		{"NAT", "172.16.0.9:2000", "10.2.0.1:80"}, {"NAT, another", "172.16.0.9:2001", "10.2.0.1:80"},
		{"DR", "172.16.0.9:2000", "10.2.0.1:81"}, {"TUN", "172.16.0.9:2000", "10.2.0.1:82"},
		{"persistent", "172.16.0.9:2002", "10.2.0.1:443"}, {"a new one by a template", "172.16.0.9:2999", "10.2.0.1:443"},
		{"by mark", "172.16.0.9:2001", "10.2.0.9:99"}, {"IPv6", "[fd00:c::9]:2000", "[fd00:2::1]:80"},
	} {
		flags := uint8(ack)
		if strings.HasPrefix(c.name, "a new one") {
			flags = syn
		}
		p := at(k.t, 1, c.client, c.virtual, flags, 1005, 5001, "more")
		theirs, ours := k.send(p), b.send(1, p)
		if theirs == nil || len(ours) != 1 {
			k.t.Errorf("%s: %d packets of the director", c.name, len(ours))
			continue
		}
		copy(theirs[6:12], ours[0].b[6:12]) // the MAC address of the director
		want, got := describe(k.t, theirs), describe(k.t, ours[0].b)
		if c.name == "TUN" {
			want, got = judge(k.t, theirs), judge(k.t, ours[0].b)
		}
		if want != got {
			k.t.Errorf("%s: the kernel sends\n%s, the director\n%s", c.name, want, got)
		}
	}
}

func kernelBed(t *testing.T, k *kernelPeer) *testbed {
	b := newTestbedWith(t, kernelRules, Config{MaxConns: 1 << 12, Sync: SyncConfig{Net: k}})
	b.fw.MTU = func(string) (int, error) { return 1500, nil }
	b.mark(config.MarkRule{Dst: netip.MustParsePrefix("10.2.0.9/32"), Proto: config.TCP, Mark: 5})
	mustDo(t, b.fw.RebuildPlan())
	ctx, cancel := context.WithCancel(t.Context())
	b.fw.sync.begin(ctx)
	t.Cleanup(func() { b.fw.sync.stop(); cancel() })
	return b
}

// A real kernel and a director are each the other's backup in turn: the lists become
// equal, and traffic goes on at the other one.
func TestARealKernelSynchronizesWithADirector(t *testing.T) {
	k := newKernelPeer(t)
	k.apply(kernelRules)
	k.run(`modprobe nf_tables; modprobe nft_chain_filter 2>/dev/null || :
nft add table ip m; nft add chain ip m pre '{ type filter hook prerouting priority -150; }'; nft add rule ip m pre ip daddr 10.2.0.9 meta mark set 5`)
	for _, version := range []string{"1", "0"} {
		t.Run("the kernel is the master, version "+version, func(t *testing.T) { k.kernelMaster(t, version) })
		t.Run("the director is the master, version "+version, func(t *testing.T) { k.directorMaster(t, version) })
	}
}

// only4 leaves out what version 0 cannot express: IPv6, and marks of templates.
func only4(flows [][]byte, version string) [][]byte {
	return slices.DeleteFunc(slices.Clone(flows), func(p []byte) bool {
		return version == "0" && binary.BigEndian.Uint16(p[12:]) == frame.EtherIPv6
	})
}

func (k *kernelPeer) kernelMaster(t *testing.T, version string) {
	k.t = t
	b := kernelBed(t, k)
	b.ipvsadm("--start-daemon backup --mcast-interface s --syncid 7")
	k.run("sysctl -qw net.ipv4.vs.sync_version=" + version + "; ipvsadm --start-daemon master --mcast-interface eth0 --syncid 7")
	for _, p := range only4(kernelFlows(t), version) {
		k.send(p)
	}
	k.expectEqual("the kernel is the master", b, 30, leaveOf(version))
	if version == "1" {
		k.expectTakeOver(b)
	}
	k.run("ipvsadm --stop-daemon master; ipvsadm -C; modprobe -r ip_vs_ftp ip_vs_rr ip_vs; modprobe ip_vs")
	k.apply(kernelRules)
}

func (k *kernelPeer) directorMaster(t *testing.T, version string) {
	k.t = t
	b := kernelBed(t, k)
	k.run("ipvsadm --start-daemon backup --mcast-interface eth0 --syncid 7")
	b.sysctl("sync_version", version)
	b.ipvsadm("--start-daemon master --mcast-interface s --syncid 7")
	for _, p := range only4(kernelFlows(t), version) {
		b.send(1, p)
	}
	k.expectEqual("the director is the master", b, 30, leaveOf(version))
	if version == "1" {
		k.expectTakeOver(b)
	}
	b.ipvsadm("--stop-daemon master")
	k.run("ipvsadm --stop-daemon backup; ipvsadm -C; modprobe -r ip_vs_ftp ip_vs_rr ip_vs; modprobe ip_vs")
	k.apply(kernelRules)
}
