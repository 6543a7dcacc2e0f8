package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/porttest"
	"uvs/internal/ethtool"
	"uvs/internal/nstest"
)

// recordedStory is as in the forwarder's tests: commands, packets, and all frames that were
// sent.
type recordedStory struct {
	Case   string
	Setup  []string
	Frames []struct {
		Do          string
		Wait        float64
		Inject, Pkt string
		Descr       string
		Out         []struct{ Side, Frame string }
	}
}

// endToEnd has the prefixes of the names of the stories that are played here.
var endToEnd = []string{"SCTP life by -m", "SCTP over", "TCP port reuse mode 1", "removed servers by -i nodest 1", "persistence mask 255.255.0.0",
	"persistence IPv6 prefix 64", "persistence port 0", "fwmark grouping", "one packet by -g", "ICMP in the middle by -i", "ICMPv6 in the middle by -m",
	"schedule_icmp 1", "IPsec with IKE by -m", "pmtu_disc 1 tun g", "IPv6 extension headers by -m", "IPv6 fragments with extension headers by -g"}

// knownDifferences are the frames that are answered differently here, by words in their
// descriptions: another host answers, or docs/differences.md says why.
var knownDifferences = [][]string{{"ICMP type=13"}, {"ICMP", "csumBAD"}}

// differsKnowingly reports whether a frame is one of them.
func differsKnowingly(description string) bool {
	return slices.ContainsFunc(knownDifferences, func(words []string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(description, w) })
	})
}

// testNetwork is the network of the recordings, of real interfaces:
//
//	client c1 ── c0 director r0 ── r1 servers
//
// The stacks of both ends are not used: the test makes their frames.
type testNetwork struct {
	t                         *testing.T
	client, director, servers *nstest.Node
	c1, r1                    int // packet sockets
}

// Recorded packets cross a director between two real interfaces and leave as
// the kernel's IPVS sent them, byte by byte.
func TestRecordedStoriesBetweenRealInterfaces(t *testing.T) {
	nstest.Need(t)
	s := newTestNetwork(t)
	s.start()
	for _, story := range recordedStories(t) {
		t.Run(story.Case, func(t *testing.T) {
			s.t = t
			s.play(&story)
		})
	}
}

func recordedStories(t *testing.T) (all []recordedStory) {
	f, err := os.Open("../../forwarder/testdata/stories.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var s recordedStory
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(endToEnd, func(name string) bool { return strings.HasPrefix(s.Case, name) }) {
			all = append(all, s)
		}
	}
	return all
}

func newTestNetwork(t *testing.T) *testNetwork {
	s := &testNetwork{t: t, client: nstest.NewNode(t), director: nstest.NewNode(t), servers: nstest.NewNode(t)}
	for _, n := range []*nstest.Node{s.client, s.servers} {
		n.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	}
	d := s.director
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		d.Sysctl(name, "1")
	}
	for _, name := range []string{"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit",
		"net/ipv4/conf/all/send_redirects", "net/ipv4/conf/default/send_redirects", "net/ipv6/conf/default/router_solicitations"} {
		d.Sysctl(name, "0")
	}
	d.Connect("c0", s.client, "c1")
	d.Connect("r0", s.servers, "r1")
	s.mac(d, "c0", "02:00:00:d0:00:01")
	s.mac(d, "r0", "02:00:00:d0:00:02")
	for link, addrs := range map[string][]string{"c0": {"10.9.0.1/24", "fd00:9::1/64"}, "r0": {"10.1.255.254/16", "fd00:1::fffe/64"}} {
		d.Do(func() error { // what the host itself sends is whole on the wire
			return ethtool.SetFeatures(link, map[string]bool{"tx-checksum-ip-generic": false})
		})
		for _, a := range addrs {
			d.Addr(link, a)
		}
	}
	s.neighbours()
	d.Route("172.16.0.0/12", "10.9.0.2")
	d.Route("fd00:c::/64", "fd00:9::2")
	s.local("10.2.0.0/16")
	s.local("fd00:2::/64")
	s.c1, s.r1 = s.socket(s.client, "c1"), s.socket(s.servers, "r1")
	return s
}

func (s *testNetwork) mac(n *nstest.Node, name, mac string) {
	addr, _ := net.ParseMAC(mac)
	n.Link(name, func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, addr) })
}

// neighbours gives the director the next hops of the recordings.
func (s *testNetwork) neighbours() {
	add := func(link, ip, mac string) {
		s.director.Link(link, func(l netlink.Link) error {
			addr, _ := net.ParseMAC(mac)
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: addr})
		})
	}
	for _, ip := range []string{"10.9.0.2", "fd00:9::2"} {
		add("c0", ip, "02:00:00:02:00:01")
	}
	for i := 1; i <= 30; i++ {
		mac := fmt.Sprintf("02:00:00:01:00:%02x", i)
		add("r0", fmt.Sprintf("10.1.0.%d", i), mac)
		add("r0", fmt.Sprintf("fd00:1::%x", i), mac)
	}
}

// local makes a network's addresses the director's own.
func (s *testNetwork) local(cidr string) {
	s.director.Link("lo", func(l netlink.Link) error {
		_, dst, err := net.ParseCIDR(cidr)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST})
	})
}

// socket opens a packet socket on an interface of a node.
func (s *testNetwork) socket(n *nstest.Node, name string) (fd int) {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8
	n.Link(name, func(l netlink.Link) (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index})
	})
	s.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// start runs a director in its node.
func (s *testNetwork) start() {
	s.director.Do(func() error {
		cmd := exec.Command("uvs", "director")
		if err := cmd.Start(); err != nil {
			return err
		}
		s.t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		return nil
	})
	nstest.Eventually(s.t, "the director answers", func() bool {
		return s.director.Try(func() error { _, err := tool("", "", "ipvsadm -C"); return err }) == nil
	})
}

// do runs a command of a story in the director's node.
func (s *testNetwork) do(line string) {
	w := strings.Fields(line)
	switch w[0] {
	case "sysctl":
		line = "uvs sysctl net.ipv4.vs." + w[1]
	case "mark":
		line = fmt.Sprintf("uvs mark -A -d %s -p %s --dport %s --set-mark %s", w[3], w[2], strings.ReplaceAll(w[4], "-", ":"), w[1])
	}
	s.director.Do(func() error { _, err := tool("", "", line); return err })
}

func (s *testNetwork) play(story *recordedStory) {
	s.do("ipvsadm -C")
	s.do("uvs mark -F")
	for _, line := range story.Setup {
		s.do(line)
	}
	defer s.reset(story)
	for i, f := range story.Frames {
		if f.Do != "" {
			s.do(f.Do)
		}
		if f.Inject == "" {
			continue
		}
		var want []string
		for _, o := range f.Out {
			b, _ := hex.DecodeString(o.Frame)
			want = append(want, o.Side+" "+hex.EncodeToString(porttest.Blank(b)))
		}
		if differsKnowingly(f.Descr) {
			s.send(f.Inject, f.Pkt, 0)
			continue
		}
		got := s.send(f.Inject, f.Pkt, len(want))
		if diff := gocmp.Diff(want, got); diff != "" {
			s.t.Errorf("step %d %s %s (-recorded +got):\n%s", i, f.Inject, f.Descr, diff)
		}
	}
}

// reset undoes the settings of a story.
func (s *testNetwork) reset(story *recordedStory) {
	lines := slices.Clone(story.Setup)
	for _, f := range story.Frames {
		lines = append(lines, f.Do)
	}
	for _, line := range lines {
		if setting, ok := strings.CutPrefix(line, "sysctl "); ok {
			name, _, _ := strings.Cut(setting, "=")
			value := map[string]string{"conn_reuse_mode": "1", "pmtu_disc": "1"}[name]
			s.do("sysctl " + name + "=" + cmp.Or(value, "0"))
		}
	}
}

// send puts a packet on the wire and returns what left, n frames or more.
func (s *testNetwork) send(side, packet string, n int) (got []string) {
	s.t.Helper()
	p, _ := hex.DecodeString(packet)
	fd, header := s.c1, []byte{2, 0, 0, 0xd0, 0, 1, 2, 0, 0, 2, 0, 1, 8, 0}
	six := p[0]>>4 == 6
	if side == "<" { // server n has the MAC address that ends in n
		n := p[15]
		if six {
			n = p[23]
		}
		fd, header = s.r1, []byte{2, 0, 0, 0xd0, 0, 2, 2, 0, 0, 1, 0, n, 8, 0}
	}
	if six {
		header[12], header[13] = 0x86, 0xdd
	}
	if _, err := unix.Write(fd, append(header, p...)); err != nil {
		s.t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	quiet := time.Now().Add(30 * time.Millisecond)
	for time.Now().Before(quiet) || len(got) < n && time.Now().Before(deadline) {
		got = append(append(got, s.receive(s.r1, "R ")...), s.receive(s.c1, "C ")...)
	}
	return got
}

// receive returns the director's frames that wait at a socket.
func (s *testNetwork) receive(fd int, side string) (got []string) {
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 2)
	for {
		b := make([]byte, 1<<16)
		n, from, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if err != nil {
			return got
		}
		l, ok := from.(*unix.SockaddrLinklayer)
		if b = b[:n]; ok && l.Pkttype != unix.PACKET_OUTGOING && forwarded(b) {
			got = append(got, side+hex.EncodeToString(porttest.Blank(b)))
		}
	}
}

// forwarded reports whether a frame is one that the recordings would have: from
// the director and neither ARP nor neighbour or group discovery.
func forwarded(b []byte) bool {
	if len(b) < 14 || !bytes.HasPrefix(b[6:], []byte{2, 0, 0, 0xd0}) || b[12] == 8 && b[13] == 6 {
		return false
	}
	discovery := b[12] == 0x86 && (b[20] == 58 && b[54] >= 133 && b[54] <= 143 || b[20] == 0 && b[38] == 0xff)
	return !discovery
}
