package forwarder

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

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
	t.Run("both take the same of crafted datagrams", k.crafted)
	t.Run("FTP", k.ftp)
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
