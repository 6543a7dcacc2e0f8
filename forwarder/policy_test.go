package forwarder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// policyBed is a bed whose clock a test moves, in a testing/synctest bubble.
type policyBed struct {
	*bed
	usher *usher
}

func newPolicyBed(t testing.TB, rules string) *policyBed {
	b := newBed(t, rules)
	r := b.fw.conns.Reader()
	t.Cleanup(r.Close)
	return &policyBed{b, newUsher(b.fw, r)}
}

// pass lets time go by with the housekeeping of every tenth of a second, and
// returns what that sent.
func (b *policyBed) pass(d time.Duration) (out []string) {
	const step = 100 * time.Millisecond
	for ; d > 0; d -= step {
		time.Sleep(step)
		for !b.fw.conns.Sweep(b.fw.now(), sweepSlots) {
		}
		b.usher.step(b.fw.now())
	}
	return b.tell(b.collect())
}

// tell describes frames with gopacket, which must find their checksums right.
func (b *policyBed) tell(out []sent) (all []string) {
	for _, s := range out {
		side := "client"
		if s.link == 2 {
			side = "server"
		}
		all = append(all, side+" "+inFull(b.t, s.b))
	}
	return all
}

// expect is bed.expect with the numbers of segments.
func (b *policyBed) expect(because string, link int, p []byte, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.tell(b.send(link, p))); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", because, diff)
	}
}

func (b *policyBed) counts(because string, want map[string]uint64) {
	b.t.Helper()
	all, got := b.fw.Counters(), map[string]uint64{}
	for name := range want {
		got[name] = all[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", because, diff)
	}
}

func inFull(t testing.TB, b []byte) string {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var words []string
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.IPv6:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.TCP:
			words = append(words, fmt.Sprintf("tcp %d>%d %s seq %d ack %d", l.SrcPort, l.DstPort, flagsOf(l), l.Seq, l.Ack))
		case *layers.UDP:
			words = append(words, fmt.Sprintf("udp %d>%d", l.SrcPort, l.DstPort))
		case *layers.SCTP:
			words = append(words, fmt.Sprintf("sctp %d>%d tag %d", l.SrcPort, l.DstPort, l.VerificationTag))
		case *layers.SCTPError:
			words = append(words, fmt.Sprintf("%s flags %d", l.Type, l.Flags))
		case *layers.ICMPv4:
			words = append(words, l.TypeCode.String())
		case *layers.ICMPv6:
			words = append(words, l.TypeCode.String())
		}
	}
	if err := checksums(b); err != nil {
		t.Errorf("%s: %v", strings.Join(words, " "), err)
	}
	return strings.Join(words, " ")
}

func flagsOf(l *layers.TCP) string {
	var flags uint8
	for bit, set := range map[uint8]bool{frame.FlagSYN: l.SYN, frame.FlagRST: l.RST, frame.FlagACK: l.ACK, frame.FlagFIN: l.FIN, frame.FlagPSH: l.PSH} {
		if set {
			flags |= bit
		}
	}
	return flagNames(flags)
}

// checksums has gopacket write a frame again from its layers and compares.
func checksums(b []byte) error {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var network gopacket.NetworkLayer
	var all []gopacket.SerializableLayer
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			network = l
		case *layers.IPv6:
			network = l
		case *layers.TCP:
			l.SetNetworkLayerForChecksum(network)
		case *layers.UDP:
			l.SetNetworkLayerForChecksum(network)
		case *layers.ICMPv6:
			l.SetNetworkLayerForChecksum(network)
		}
		s, ok := l.(gopacket.SerializableLayer)
		if !ok {
			all = append(all, gopacket.Payload(l.LayerContents()), gopacket.Payload(l.LayerPayload()))
			break
		}
		all = append(all, s)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		return err
	}
	if diff := cmp.Diff(buf.Bytes()[:min(len(b), len(buf.Bytes()))], b); diff != "" {
		return fmt.Errorf("gopacket writes it otherwise:\n%s", diff)
	}
	return nil
}

// at is a segment of one end of a connection with its numbers.
func at(t testing.TB, link int, src, dst string, flags uint8, seq, ackn uint32, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: seq, Ack: ackn, Window: 4096,
		SYN: flags&frame.FlagSYN != 0, ACK: flags&frame.FlagACK != 0, FIN: flags&frame.FlagFIN != 0, RST: flags&frame.FlagRST != 0}
	if s.Addr().Is6() {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
		return packet(t, link, ip, tcp, gopacket.Payload(data))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	return packet(t, link, ip, tcp, gopacket.Payload(data))
}

// open has a client open a connection and say something.
func (b *policyBed) open(client, virtual string) {
	b.t.Helper()
	b.send(1, at(b.t, 1, client, virtual, syn, 999, 0, ""))
	b.send(1, at(b.t, 1, client, virtual, ack, 1000, 5001, ""))
}

// localPort returns that of the only connection, which FULLNAT has chosen.
func (b *policyBed) localPort() string {
	return fmt.Sprint(b.fw.Connections()[0].Local.Port())
}

// TestResetOfARemovedServersConnection: the client's next segment has both ends
// reset, with numbers that each of them takes because they are the next ones it
// expects.
func TestResetOfARemovedServersConnection(t *testing.T) {
	for _, c := range []struct{ method, client, virtual, real, local, atServer string }{
		{"-g", aClient, aVirtual, "10.1.0.1:80", "", "172.16.0.9>10.2.0.1 tcp 30001>80"},
		{"-m", aClient, aVirtual, "10.1.0.1:8080", "", "172.16.0.9>10.1.0.1 tcp 30001>8080"},
		{"-i", aClient, aVirtual, "10.1.0.1:80", "", "10.1.255.254>10.1.0.1 172.16.0.9>10.2.0.1 tcp 30001>80"},
		{"--fullnat", aClient, aVirtual, "10.1.0.1:8080", "10.1.255.1", "10.1.255.1>10.1.0.1 tcp PORT>8080"},
		{"-g", "[fd00:c::9]:30001", "[fd00:2::1]:80", "[fd00:1::1]:80", "", "fd00:c::9>fd00:2::1 tcp 30001>80"},
		{"-m", "[fd00:c::9]:30001", "[fd00:2::1]:80", "[fd00:1::1]:8080", "", "fd00:c::9>fd00:1::1 tcp 30001>8080"},
		{"-i", "[fd00:c::9]:30001", "[fd00:2::1]:80", "[fd00:1::1]:80", "", "fd00:1::fffe>fd00:1::1 fd00:c::9>fd00:2::1 tcp 30001>80"},
		{"--fullnat", "[fd00:c::9]:30001", "[fd00:2::1]:80", "[fd00:1::1]:8080", "fd00:1::1:1", "fd00:1::1:1>fd00:1::1 tcp PORT>8080"},
	} {
		t.Run(c.method+" "+c.virtual, func(t *testing.T) {
			b := newPolicyBed(t, fmt.Sprintf("-A -t %[1]s -s rr\n-a -t %[1]s -r %[2]s %[3]s\npolicy -t %[1]s --gone reset", c.virtual, c.real, c.method))
			if c.local != "" {
				b.apply(fmt.Sprintf("--add-laddr -t %s --laddr %s", c.virtual, c.local))
			}
			b.open(c.client, c.virtual)
			atServer := strings.Replace(c.atServer, "PORT", b.localPort(), 1)
			b.apply(fmt.Sprintf("-d -t %s -r %s", c.virtual, c.real))
			src, dst := netip.MustParseAddrPort(c.virtual), netip.MustParseAddrPort(c.client)
			b.expect("data for a removed server", 1, at(t, 1, c.client, c.virtual, ack, 1000, 5001, "data"),
				fmt.Sprintf("client %s>%s tcp 80>30001 RST seq 5001 ack 0", src.Addr(), dst.Addr()),
				"server "+atServer+" RST,ACK seq 1000 ack 5001")
			if n := b.fw.conns.Len(); n != 0 {
				t.Errorf("%d connections are left, want none", n)
			}
			b.expect("and again, now without a connection", 1, at(t, 1, c.client, c.virtual, ack, 1000, 5001, "data"),
				fmt.Sprintf("client %s>%s tcp 80>30001 RST seq 5001 ack 0", src.Addr(), dst.Addr()))
			b.counts("the reset", map[string]uint64{"gone-reset": 1, "answered": 1, "policy-ended": 1, "drop-server-gone": 0})
		})
	}
}

const policyTCP = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m
`

func TestGonePoliciesOfTCP(t *testing.T) {
	segment := at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data")
	for _, c := range []struct {
		name, policy string
		packet       []byte
		want         []string
		counts       map[string]uint64
		left         int
	}{
		{"without one a segment is dropped and the connection stays", "", segment, nil, map[string]uint64{"drop-server-gone": 1}, 1},
		{"drop is the same", "--gone drop", segment, nil, map[string]uint64{"drop-server-gone": 1}, 1},
		{"icmp tells the client, and the connection waits for its server", "--gone icmp", segment,
			[]string{"client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)"}, map[string]uint64{"gone-icmp": 1}, 1},
		{"a client that resets is heard by the server", "--gone reset", at(t, 1, aClient, aVirtual, frame.FlagRST, 1000, 0, ""),
			[]string{"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST seq 1000 ack 0"}, map[string]uint64{"forward": 3}, 0},
		{"a SYN is not answered but scheduled anew", "--gone reset", at(t, 1, aClient, aVirtual, syn, 7000, 0, ""),
			[]string{"server 172.16.0.9>10.1.0.1 tcp 30001>8080 SYN seq 7000 ack 0"}, map[string]uint64{"policy-rescheduled": 1, "forward": 3}, 1},
		{"so it is with icmp", "--gone icmp", at(t, 1, aClient, aVirtual, syn, 7000, 0, ""),
			[]string{"server 172.16.0.9>10.1.0.1 tcp 30001>8080 SYN seq 7000 ack 0"}, map[string]uint64{"policy-rescheduled": 1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newPolicyBed(t, policyTCP)
			if c.policy != "" {
				b.apply("policy -t " + aVirtual + " " + c.policy)
			}
			b.open(aClient, aVirtual)
			b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
			b.expect(c.name, 1, c.packet, c.want...)
			b.counts(c.name, c.counts)
			if n := b.fw.conns.Len(); n != c.left {
				t.Errorf("%d connections are left, want %d", n, c.left)
			}
		})
	}
}

func TestAServerThatComesBackHasItsConnectionsAgain(t *testing.T) {
	b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone icmp")
	b.open(aClient, aVirtual)
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	b.send(1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"))
	b.apply("-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m")
	b.expect("the client tries once more", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
		"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
}

// TestDrainOutlivesTheService: what drains keeps its virtual address, also if
// no service is left at all.
func TestDrainOutlivesTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset --drain 10\n--add-laddr -t 10.2.0.1:80 --laddr 10.1.255.1")
		b.open(aClient, aVirtual)
		b.apply("-D -t 10.2.0.1:80")
		b.pass(9 * time.Second)
		b.expect("a segment while it drains", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
		b.pass(2 * time.Second)
		b.expect("and then", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
		if len(b.net.owned) != 2 {
			t.Errorf("the director answers for %v while connections are ended", b.net.owned)
		}
		b.pass(2 * time.Second)
		if len(b.net.owned) != 0 || b.fw.leaving.Load() {
			t.Errorf("after that it still answers for %v", b.net.owned)
		}
	})
}

func TestPolicyHoldsForServersOfARemovedService(t *testing.T) {
	b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset\n-A -t 10.2.0.9:80 -s rr")
	b.open(aClient, aVirtual)
	b.apply("-D -t 10.2.0.1:80")
	b.expect("a segment to a service that was removed", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
		"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
		"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
}

func TestPolicySetAfterTheServerWent(t *testing.T) {
	b := newPolicyBed(t, policyTCP)
	b.open(aClient, aVirtual)
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	b.expect("without a policy", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"))
	b.apply("policy -t 10.2.0.1:80 --gone reset")
	b.expect("with one", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
		"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
		"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
}

// TestPolicyGoesBeforeExpireNodestConn: with the setting alone the connection is
// gone with its server; where a policy answers it is kept until it has.
func TestPolicyGoesBeforeExpireNodestConn(t *testing.T) {
	for policy, want := range map[string][]string{
		"drop":  {"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0"}, // as any segment without a connection
		"icmp":  {"client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)"},
		"reset": {"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0", "server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001"},
	} {
		b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone "+policy)
		b.set("expire_nodest_conn", "1")
		b.open(aClient, aVirtual)
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
		b.expect("expire_nodest_conn and "+policy, 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"), want...)
	}
}

// TestSilentClientsAreAsked: a client that only listens gets a segment that it
// must answer, and is reset by the numbers of its answer.
func TestSilentClientsAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset")
		b.open(aClient, aVirtual)
		b.open("172.16.0.9:30002", aVirtual) // to the other server
		b.open("172.16.0.9:30003", aVirtual)
		b.send(1, at(t, 1, "172.16.0.9:30003", aVirtual, frame.FlagFIN|ack, 1000, 5001, ""))
		b.send(2, at(t, 2, "10.1.0.2:8080", "172.16.0.9:30003", frame.FlagFIN|ack, 5001, 1001, ""))
		if out := b.pass(2 * time.Second); out != nil {
			t.Errorf("while all servers are there %q was sent", out)
		}
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
		out := b.pass(time.Second)
		if len(out) != 1 || !strings.HasPrefix(out[0], "client 10.2.0.1>172.16.0.9 tcp 80>30001 ACK ") {
			t.Fatalf("the clients were sent %q, want one segment to the one whose server is gone", out)
		}
		b.expect("the client's answer has the numbers", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, ""),
			"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
		if out := b.pass(5 * time.Second); out != nil {
			t.Errorf("%q was sent after that", out)
		}
		if n := b.fw.conns.Len(); n != 1 || b.fw.leaving.Load() {
			t.Errorf("%d connections are left, want one; departures are followed: %v", n, b.fw.leaving.Load())
		}
	})
}

func TestClientsThatDoNotAnswerAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset")
		b.open(aClient, aVirtual)
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
		if out := b.pass(5 * time.Second); len(out) != 4 {
			t.Errorf("the client was asked %d times, want 4: %q", len(out), out)
		}
		if n := b.fw.conns.Len(); n != 0 {
			t.Errorf("%d connections are left, want none", n)
		}
		b.counts("a client that is dead", map[string]uint64{"policy-probes": 4, "policy-ended": 1, "gone-reset": 0})
	})
}

func TestProbesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPolicyBed(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m\npolicy -t 10.2.0.1:80 --gone reset")
		for i := range 2*probesPerTick + 100 {
			b.open(fmt.Sprintf("172.16.%d.%d:40000", i/250, i%250), aVirtual)
		}
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.1:8080")
		for _, want := range []int{probesPerTick, probesPerTick, 100, 0} {
			if n := len(b.pass(100 * time.Millisecond)); n != want {
				t.Errorf("%d clients were asked in a tick, want %d", n, want)
			}
		}
	})
}

func TestDrainHasAnEnd(t *testing.T) {
	for _, leave := range []string{
		"-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0",
		"-d -t 10.2.0.1:80 -r 10.1.0.2:8080",
	} {
		for _, c := range []struct {
			policy string
			want   []string
			counts map[string]uint64
		}{
			{"--drain 30s", nil, map[string]uint64{"drop-server-gone": 1, "policy-ended": 1}},
			{"--drain 30s --gone icmp", []string{"client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)"}, map[string]uint64{"gone-icmp": 1, "policy-ended": 1}},
			{"--drain 30s --gone reset", []string{"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0", "server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001"},
				map[string]uint64{"gone-reset": 1, "policy-ended": 1}},
		} {
			t.Run(leave[:2]+" "+c.policy, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 "+c.policy)
					b.open(aClient, aVirtual)
					b.apply(leave)
					b.pass(29900 * time.Millisecond)
					b.expect("until the deadline packets pass", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
						"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
					time.Sleep(200 * time.Millisecond) // no housekeeping: the worker sees the deadline itself
					b.expect("then they do not", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"), c.want...)
					b.counts("the end", c.counts)
					if n := b.fw.conns.Len(); n != 0 {
						t.Errorf("%d connections are left", n)
					}
				})
			})
		}
	}
}

func TestSilentConnectionsEndWithTheDrain(t *testing.T) {
	for _, policy := range []string{"drop", "icmp", "reset"} {
		synctest.Test(t, func(t *testing.T) {
			b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --drain 10 --gone "+policy)
			b.open(aClient, aVirtual)
			b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
			b.pass(9 * time.Second)
			if s := b.fw.Services()[0].Servers[1]; b.fw.conns.Len() != 1 || s.DrainLeft < 900 || s.DrainLeft > 1100 {
				t.Errorf("%s: after 9 s of 10 there are %d connections, %d ms to go", policy, b.fw.conns.Len(), s.DrainLeft)
			}
			out := b.pass(5 * time.Second)
			if asked := len(out); (asked > 0) != (policy == "reset") {
				t.Errorf("%s: the client was sent %q", policy, out)
			}
			if s := b.fw.Services()[0].Servers[1]; b.fw.conns.Len() != 0 || s.Active+s.Inactive != 0 {
				t.Errorf("%s: %d connections are left, the server counts %d", policy, b.fw.conns.Len(), s.Active+s.Inactive)
			}
			if b.fw.leaving.Load() {
				t.Errorf("%s: the table is still gone through", policy)
			}
		})
	}
}

func TestADrainThatIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --drain 10 --gone reset")
		b.open(aClient, aVirtual)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
		b.pass(9 * time.Second)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 1")
		b.pass(20 * time.Second)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
		b.pass(9 * time.Second)
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080") // it drains since it was quiesced, not since now
		b.expect("a new time begins with the second drain", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
		b.pass(1100 * time.Millisecond)
		b.apply("-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m") // in the connection's last seconds
		b.expect("and ends with the server's return", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
		b.pass(20 * time.Second)
		if n := b.fw.conns.Len(); n != 1 {
			t.Errorf("the connection of a server that came back has ended")
		}
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
		if b.pass(10*time.Second - 100*time.Millisecond); b.fw.conns.Len() != 1 {
			t.Errorf("the third drain has not its 10 s")
		}
		if out := b.pass(300 * time.Millisecond); len(out) != 1 {
			t.Errorf("at its end the client was sent %q, want one question", out)
		}
	})
}

// TestTemplatesEndWithTheDrain: persistence holds a client at a server that
// drains, until the deadline.
func TestTemplatesEndWithTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPolicyBed(t, strings.Replace(policyTCP, "-s rr", "-s rr -p", 1)+"policy -t 10.2.0.1:80 --drain 10 --gone reset")
		b.open(aClient, aVirtual)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
		b.expect("the client's next connection goes where its first one is", 1, at(t, 1, "172.16.0.9:30002", aVirtual, syn, 1, 0, ""),
			"server 172.16.0.9>10.1.0.2 tcp 30002>8080 SYN seq 1 ack 0")
		time.Sleep(11 * time.Second)
		b.expect("after the deadline elsewhere", 1, at(t, 1, "172.16.0.9:30003", aVirtual, syn, 1, 0, ""),
			"server 172.16.0.9>10.1.0.1 tcp 30003>8080 SYN seq 1 ack 0")
		b.pass(6 * time.Second)
		if n := b.fw.Services()[0].Servers[1]; n.Persistent != 0 || n.Active+n.Inactive != 0 {
			t.Errorf("the drained server counts %d templates and %d connections, want none", n.Persistent, n.Active+n.Inactive)
		}
	})
}

const policyUDP = `
-A -u 10.2.0.1:53 -s rr
-a -u 10.2.0.1:53 -r 10.1.0.1:5353 -m
-a -u 10.2.0.1:53 -r 10.1.0.2:5353 -m
`

func TestUDPFlowsOfServersThatGo(t *testing.T) {
	const (
		old  = "server 172.16.0.9>10.1.0.2 udp 40000>5353"
		next = "server 172.16.0.9>10.1.0.1 udp 40000>5353"
		port = "client 10.2.0.1>172.16.0.9 DestinationUnreachable(Port)"
	)
	quiesce, remove := "-e -u 10.2.0.1:53 -r 10.1.0.2:5353 -m -w 0", "-d -u 10.2.0.1:53 -r 10.1.0.2:5353"
	for _, c := range []struct {
		name, policy, leave string
		want                []string // of two datagrams
	}{
		{"as in IPVS a flow stays with a quiesced server", "", quiesce, []string{old, old}},
		{"and is dropped for a removed one", "", remove, nil},
		{"reset tells once, then the flow is a new one", "--gone reset", remove, []string{port, next}},
		{"icmp tells every time", "--gone icmp", remove, []string{"client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)", "client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)"}},
		{"reset has nothing to do while the server is there", "--gone reset", quiesce, []string{old, old}},
		{"scheduled anew when removed", "--udp-reschedule", remove, []string{next, next}},
		{"scheduled anew when quiesced", "--udp-reschedule", quiesce, []string{next, next}},
		{"rather than told", "--udp-reschedule --gone reset", remove, []string{next, next}},
		{"or left to drain", "--udp-reschedule --drain 60", quiesce, []string{next, next}},
	} {
		for _, persistent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, persistent), func(t *testing.T) {
				rules := policyUDP
				if persistent {
					rules = strings.Replace(rules, "-s rr", "-s rr -p", 1)
				}
				b := newPolicyBed(t, rules+"policy -u 10.2.0.1:53 "+c.policy)
				b.expect("the first datagram", 1, dgram(t, 1, "172.16.0.9:40000", "10.2.0.1:53", "x"), old)
				b.apply(c.leave)
				d := dgram(t, 1, "172.16.0.9:40000", "10.2.0.1:53", "x")
				if diff := cmp.Diff(c.want, b.tell(b.send(1, d, d))); diff != "" { // in one batch
					t.Errorf("two datagrams (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestSCTPIsAborted(t *testing.T) {
	for _, c := range []struct{ client, virtual, real, src, dst, atServer string }{
		{"172.16.0.9:30001", "10.2.0.1:80", "10.1.0.1:80", "10.2.0.1", "172.16.0.9", "172.16.0.9>10.1.0.1"},
		{"[fd00:c::9]:30001", "[fd00:2::1]:80", "[fd00:1::1]:80", "fd00:2::1", "fd00:c::9", "fd00:c::9>fd00:1::1"},
	} {
		b := newPolicyBed(t, "")
		virtual, real := netip.MustParseAddrPort(c.virtual), netip.MustParseAddrPort(c.real)
		key := config.Key{Proto: config.SCTP, Addr: virtual.Addr(), Port: virtual.Port()}
		server := config.Server{Addr: real.Addr(), Port: real.Port(), Weight: 1}
		for _, err := range []error{
			b.fw.AddService(config.Service{Key: key, Scheduler: "rr", Policy: config.Policy{Gone: config.GoneReset}}),
			b.fw.AddServer(key, server),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		b.send(1, sctpPacket(t, c.client, c.virtual, 0, layers.SCTPChunkTypeInit))
		if err := b.fw.DeleteServer(key, server.AddrPort()); err != nil {
			t.Fatal(err)
		}
		b.expect("a HEARTBEAT for a removed server", 1, sctpPacket(t, c.client, c.virtual, 77, layers.SCTPChunkTypeHeartbeat),
			"client "+c.src+">"+c.dst+" sctp 80>30001 tag 77 Abort flags 1",
			"server "+c.atServer+" sctp 30001>80 tag 77 Abort flags 0")
	}
}

func sctpPacket(t testing.TB, src, dst string, tag uint32, chunk layers.SCTPChunkType) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	h := &layers.SCTP{SrcPort: layers.SCTPPort(s.Port()), DstPort: layers.SCTPPort(d.Port()), VerificationTag: tag}
	body := gopacket.Payload([]byte{byte(chunk), 0, 0, 20, 15: 0, 19: 0})
	if s.Addr().Is6() {
		return packet(t, 1, &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolSCTP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}, h, body)
	}
	return packet(t, 1, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolSCTP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}, h, body)
}

func TestTraceNamesThePolicy(t *testing.T) {
	b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset")
	b.open(aClient, aVirtual)
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	w := b.workers[1]
	b.mem.far[1].Inject(at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"))
	n, err := w.port.Recv(w.in[:])
	if err != nil {
		t.Fatal(err)
	}
	w.begin()
	w.parse(w.in[:n])
	w.lookup(w.in[:n])
	w.rec = &record{}
	v := w.forward(&w.in[0], w.verdict[0], conntrack.Found{})
	var steps []string
	for _, s := range w.rec.Steps {
		steps = append(steps, s.Stage+" "+s.What)
	}
	w.rec = nil
	w.end()
	if want := "policy the server is gone: reset"; v != frame.GoneReset || !strings.Contains(strings.Join(steps, "\n"), want) {
		t.Errorf("verdict %s, steps\n%s\nwant a step %q", v, strings.Join(steps, "\n"), want)
	}
}

// TestPolicyOfNoConsequence: packets of a service with a policy whose servers
// are all there take the same way, and that allocates nothing.
func TestPolicyCostsNothing(t *testing.T) {
	b := newPolicyBed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset --drain 30 --udp-reschedule")
	b.open(aClient, aVirtual)
	for _, server := range b.fw.servers {
		if server.leaves.Load() || server.ends.Load() != endsNever {
			t.Errorf("%s is said to leave", server.Addr)
		}
	}
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080") // drains
	w, p := b.workers[1], at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data")
	if n := testing.AllocsPerRun(100, func() {
		b.mem.far[1].Inject(p)
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
		b.mem.far[2].Recv(w.in[:])
	}); n > 0 {
		t.Errorf("a packet to a server that drains takes %v allocations", n)
	}
}
