package forwarder

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/connsync"
	"uvs/forwarder/frame"
)

// probing is a director whose host sends on the clients' link.
func probing(t *testing.T, commands string) *testbed {
	b := newTestbedWith(t, commands, Config{MaxConns: 1 << 10})
	b.fw.conf.HostLink = b.net.Interfaces[0].Name
	return b
}

// A probe goes to its server whatever the weight, by the server's method; nothing of it is
// listed, counted or synchronized, and it is forgotten when it has ended.
func TestAProbeGoesToItsServerAndLeavesNothing(t *testing.T) {
	for method, want := range map[string]string{
		"-m": "server 172.16.0.9>10.1.0.2 tcp 1000>80 SYN", "-g": "server 172.16.0.9>10.2.0.1 tcp 1000>80 SYN",
	} {
		synctest.Test(t, func(t *testing.T) {
			b := probing(t, "-A -t 10.2.0.1:80 -s rr -p 60\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 "+method+
				"\n-a -t 10.2.0.1:80 -r 10.1.0.2:80 -w 0 "+method)
			k, _ := config.ParseKey("tcp:10.2.0.1:80")
			from, to := netip.MustParseAddrPort("172.16.0.9:1000"), netip.MustParseAddrPort("10.2.0.1:80")
			end, err := b.fw.OpenProbe(k, netip.MustParseAddrPort("10.1.0.2:80"), config.TCP, from, to)
			mustDo(t, err)
			watching := b.fw.arrivals.start(16, false)
			ended := b.fw.ConnsEnded()
			out := b.inFull(b.send(1, seg(t, 1, from.String(), to.String(), frame.FlagSYN, "")))
			if len(out) != 1 || len(out[0]) < len(want) || out[0][:len(want)] != want {
				t.Errorf("%s: %v, want %s", method, out, want)
			}
			b.leavesNothing(k)
			end()
			b.pass(3 * time.Second)
			r := b.fw.conns.Reader()
			b.fw.endProbes(r)
			r.Close()
			if n := b.fw.conns.Len(); n != 0 {
				t.Errorf("%s: %d connections stay", method, n)
			}
			if n := len(watching.changes); n != 0 || b.fw.ConnsEnded() != ended {
				t.Errorf("%s: %d changes are recorded, %d ends counted", method, n, b.fw.ConnsEnded()-ended)
			}
			b.fw.arrivals.remove(watching)
			b.send(1, seg(t, 1, from.String(), to.String(), frame.FlagSYN, ""))
			if all := b.fw.Connections(); len(all) != 2 || all[0].Server.Addr() != netip.MustParseAddr("10.1.0.1") {
				t.Errorf("%s: the same flow is scheduled to %v", method, all)
			}
		})
	}
}

// leavesNothing expects no trace of a probe that is under way.
func (b *testbed) leavesNothing(k config.Key) {
	b.t.Helper()
	if all := b.fw.Connections(); len(all) != 0 {
		b.t.Errorf("listed: %v", all)
	}
	b.fw.Tick(time.Now())
	v, err := b.fw.State(k)
	mustDo(b.t, err)
	if v.Stats != (config.Stats{}) {
		b.t.Errorf("counted: %+v", v.Stats)
	}
	for _, s := range v.Servers {
		if s.Stats != (config.Stats{}) || s.Active+s.Inactive+s.Persistent != 0 {
			b.t.Errorf("counted: %+v", s)
		}
	}
	if list, templates := b.fw.CountConns(); len(list)+templates != 0 {
		b.t.Errorf("counted in the table: %v", list)
	}
	r := b.fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool {
		var e connsync.Entry
		if b.fw.describe(&e, c) {
			b.t.Errorf("synchronized: %+v", e)
		}
		return true
	})
}

// A client of the network cannot use a probe's flow.
func TestAFlowOfTheNetworkIsNoProbe(t *testing.T) {
	b := probing(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 0")
	b.fw.conf.HostLink = ""
	k, _ := config.ParseKey("tcp:10.2.0.1:80")
	_, err := b.fw.OpenProbe(k, netip.MustParseAddrPort("10.1.0.2:80"), config.TCP,
		netip.MustParseAddrPort("172.16.0.9:1000"), netip.MustParseAddrPort("10.2.0.1:80"))
	mustDo(t, err)
	b.send(1, seg(t, 1, "172.16.0.9:1000", "10.2.0.1:80", frame.FlagSYN, ""))
	if all := b.fw.Connections(); len(all) != 1 || all[0].Server.Addr() != netip.MustParseAddr("10.1.0.1") {
		t.Errorf("it is forwarded as %v", all)
	}
}

// A hold is beside the weight, in the next director too; the weight is what was set last.
func TestAHoldIsBesideTheWeight(t *testing.T) {
	b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 5\n-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m")
	k, _ := config.ParseKey("tcp:10.2.0.1:80")
	server := netip.MustParseAddrPort("10.1.0.1:80")
	hold := func(on bool) {
		t.Helper()
		_, err := b.fw.Hold(k, map[netip.AddrPort]bool{server: on})
		mustDo(t, err)
	}
	hold(true)
	if v, _ := b.fw.State(k); v.Servers[0].Held {
		t.Error("held without a check that may hold")
	}
	mustDo(t, b.fw.AddCheck(k, config.Check{Kind: config.CheckTCP, Act: config.ActHold}))
	for _, c := range []struct {
		because string
		do      func()
		weight  int32
		held    bool
		picked  bool // new connections go to the server
	}{
		{"held", func() { hold(true) }, 5, true, false},
		{"its weight is changed", func() { b.apply("-e -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 9") }, 9, true, false},
		{"the service is edited", func() { b.apply("-E -t 10.2.0.1:80 -s wrr") }, 9, true, false},
		{"removed and added again", func() { b.apply("-d -t 10.2.0.1:80 -r 10.1.0.1:80\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 7") }, 7, true, false},
		{"let go", func() { hold(false) }, 7, false, true},
		{"held again", func() { hold(true) }, 7, true, false},
		{"the check is deleted", func() { mustDo(t, b.fw.DeleteCheck(k, nil)) }, 7, false, true},
	} {
		c.do()
		v, err := b.fw.State(k)
		mustDo(t, err)
		for _, s := range v.Servers {
			if s.AddrPort() == server && (s.Weight != c.weight || s.Held != c.held) {
				t.Errorf("%s: weight %d, held %t, want %d, %t", c.because, s.Weight, s.Held, c.weight, c.held)
			}
		}
		if got := b.picks(k, server, 8); got != c.picked {
			t.Errorf("%s: new connections go there: %t", c.because, got)
		}
	}
}

// picks reports whether one of n new connections goes to a server.
func (b *testbed) picks(k config.Key, server netip.AddrPort, n int) bool {
	v := b.fw.Load().Service(k)
	found := false
	for range n {
		if s := v.Sched.Pick(&frame.Flow{}, nil); s != nil && s.Addr == server {
			found = true
		}
	}
	return found
}
