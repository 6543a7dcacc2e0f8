package forwarder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/frame"
)

// localPort returns the local port of the only connection.
func (b *testbed) localPort() string {
	return fmt.Sprint(b.fw.Connections()[0].Local.Port())
}

// The next segment of the client makes the director reset both ends, each with the sequence
// number that it expects next.
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
			b := newTestbed(t, fmt.Sprintf("-A -t %[1]s -s rr\n-a -t %[1]s -r %[2]s %[3]s\npolicy -t %[1]s --gone reset", c.virtual, c.real, c.method))
			if c.local != "" {
				b.apply(fmt.Sprintf("--add-laddr -t %s --laddr %s", c.virtual, c.local))
			}
			b.open(c.client, c.virtual)
			atServer := strings.Replace(c.atServer, "PORT", b.localPort(), 1)
			b.apply(fmt.Sprintf("-d -t %s -r %s", c.virtual, c.real))
			src, dst := netip.MustParseAddrPort(c.virtual), netip.MustParseAddrPort(c.client)
			b.expectFull("data for a removed server", 1, at(t, 1, c.client, c.virtual, ack, 1000, 5001, "data"),
				fmt.Sprintf("client %s>%s tcp 80>30001 RST seq 5001 ack 0", src.Addr(), dst.Addr()),
				"server "+atServer+" RST,ACK seq 1000 ack 5001")
			if n := b.fw.conns.Len(); n != 0 {
				t.Errorf("%d connections are left, want none", n)
			}
			b.expectFull("and again, now without a connection", 1, at(t, 1, c.client, c.virtual, ack, 1000, 5001, "data"),
				fmt.Sprintf("client %s>%s tcp 80>30001 RST seq 5001 ack 0", src.Addr(), dst.Addr()))
			b.expectCounts("the reset", map[string]uint64{"gone-reset": 1, "answered": 1, "policy-ended": 1, "drop-server-gone": 0})
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
			b := newTestbed(t, policyTCP)
			if c.policy != "" {
				b.apply("policy -t " + aVirtual + " " + c.policy)
			}
			b.open(aClient, aVirtual)
			b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
			b.expectFull(c.name, 1, c.packet, c.want...)
			b.expectCounts(c.name, c.counts)
			if n := b.fw.conns.Len(); n != c.left {
				t.Errorf("%d connections are left, want %d", n, c.left)
			}
		})
	}
}

func TestAServerThatComesBackHasItsConnectionsAgain(t *testing.T) {
	b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone icmp")
	b.open(aClient, aVirtual)
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	b.send(1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"))
	b.apply("-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m")
	b.expectFull("the client tries once more", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
		"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
}

// Draining connections keep their virtual address, even if no service is left.
func TestDrainOutlivesTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset --drain 10\n--add-laddr -t 10.2.0.1:80 --laddr 10.1.255.1")
		b.open(aClient, aVirtual)
		b.apply("-D -t 10.2.0.1:80")
		b.pass(9 * time.Second)
		b.expectFull("a segment while it drains", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
		b.pass(2 * time.Second)
		b.expectFull("and then", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
		if len(b.net.owned) != 2 {
			t.Errorf("the director answers for %v while connections are ended", b.net.owned)
		}
		b.pass(2 * time.Second)
		if len(b.net.owned) != 0 || b.fw.HasDraining.Load() {
			t.Errorf("after that it still answers for %v", b.net.owned)
		}
	})
}

func TestPolicyHoldsForServersOfARemovedService(t *testing.T) {
	b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset\n-A -t 10.2.0.9:80 -s rr")
	b.open(aClient, aVirtual)
	b.apply("-D -t 10.2.0.1:80")
	b.expectFull("a segment to a service that was removed", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
		"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
		"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
}

func TestPolicySetAfterTheServerWent(t *testing.T) {
	b := newTestbed(t, policyTCP)
	b.open(aClient, aVirtual)
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	b.expectFull("without a policy", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"))
	b.apply("policy -t 10.2.0.1:80 --gone reset")
	b.expectFull("with one", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
		"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
		"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
}

// With expire_nodest_conn alone a connection ends with its server. With a policy it ends when
// the client has been answered.
func TestPolicyGoesBeforeExpireNodestConn(t *testing.T) {
	for policy, want := range map[string][]string{
		"drop":  {"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0"}, // as any segment without a connection
		"icmp":  {"client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)"},
		"reset": {"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0", "server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001"},
	} {
		b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone "+policy)
		b.sysctl("expire_nodest_conn", "1")
		b.open(aClient, aVirtual)
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
		b.expectFull("expire_nodest_conn and "+policy, 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"), want...)
	}
}

// A client that only listens is sent a segment that it must answer, and is reset with the
// numbers of its answer.
func TestSilentClientsAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset")
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
		b.expectFull("the client's answer has the numbers", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, ""),
			"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0",
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001")
		if out := b.pass(5 * time.Second); out != nil {
			t.Errorf("%q was sent after that", out)
		}
		if n := b.fw.conns.Len(); n != 1 || b.fw.HasDraining.Load() {
			t.Errorf("%d connections are left, want one; departures are followed: %v", n, b.fw.HasDraining.Load())
		}
	})
}

func TestClientsThatDoNotAnswerAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset")
		b.open(aClient, aVirtual)
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
		if out := b.pass(5 * time.Second); len(out) != 4 {
			t.Errorf("the client was asked %d times, want 4: %q", len(out), out)
		}
		if n := b.fw.conns.Len(); n != 0 {
			t.Errorf("%d connections are left, want none", n)
		}
		b.expectCounts("a client that is dead", map[string]uint64{"policy-probes": 4, "policy-ended": 1, "gone-reset": 0})
	})
}

func TestProbesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m\npolicy -t 10.2.0.1:80 --gone reset")
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
