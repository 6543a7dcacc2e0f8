package forwarder

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/guard"
	"uvs/forwarder/service"
)

const (
	rst   = frame.FlagRST
	other = "-A -t 10.2.0.9:80 -s rr\n" // so that there is a service
)

// The replies of a connection are translated and kept from the host until it ends, whatever
// happens to its server.
func TestTheGuardFollowsConnectionsThatLive(t *testing.T) {
	const nat = other + "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n"
	const full = other + "-A -t 10.2.0.1:80 -s rr\n--add-laddr -t 10.2.0.1:80 --laddr 10.2.0.200\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 --fullnat\n"
	for _, c := range []struct{ setup, change string }{
		{nat, "-e -t 10.2.0.1:80 -r 10.1.0.1:80"},
		{nat, "-e -t 10.2.0.1:80 -r 10.1.0.1:80 -i"},
		{nat, "-d -t 10.2.0.1:80 -r 10.1.0.1:80"},
		{nat, "-e -t 10.2.0.1:80 -r 10.1.0.1:80\n-d -t 10.2.0.1:80 -r 10.1.0.1:80"},
		{nat, "-d -t 10.2.0.1:80 -r 10.1.0.1:80\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -i"},
		{nat, "-D -t 10.2.0.1:80"},
		{nat + "-A -t 10.2.0.2:80 -s rr\n-a -t 10.2.0.2:80 -r 10.1.0.1:80 -m", "-d -t 10.2.0.1:80 -r 10.1.0.1:80\n-D -t 10.2.0.2:80"},
		{nat + "-A -t 10.2.0.2:80 -s rr\n-a -t 10.2.0.2:80 -r 10.1.0.1:80", "-d -t 10.2.0.1:80 -r 10.1.0.1:80"},
		{full, "-e -t 10.2.0.1:80 -r 10.1.0.1:80"},
		{full, "-D -t 10.2.0.1:80"},
	} {
		t.Run(c.setup+c.change, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { guardFollows(t, c.setup, c.change) })
		})
	}
}

func guardFollows(t *testing.T, setup, change string) {
	b := newTestbed(t, setup)
	request := b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
	if len(request) != 1 {
		t.Fatalf("a SYN gave %q", b.words(request))
	}
	at := flowOf(request[0].b)
	back := netip.AddrPortFrom(at.Src(), at.SrcPort()).String()
	b.apply(change)
	local := at.Src() // by FULLNAT one of the service's
	if at.Src() == netip.MustParseAddr("172.16.0.9") || b.fw.Table.Load().Len() == 2 {
		local = netip.Addr{}
	}
	b.expectCover("while the connection lives", true, local)
	want := "client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>30001"
	b.expect("its reply is translated", 2, seg(t, 2, "10.1.0.1:80", back, ack, ""), want)
	b.expect("and its last", 2, seg(t, 2, "10.1.0.1:80", back, rst, ""), want)
	if b.fw.planOutdated() {
		t.Error("the plan is said to be outdated while the connection lives")
	}
	b.pass(11 * time.Second) // CLOSE
	if n := b.fw.conns.Len(); n != 0 {
		t.Fatalf("%d connections live", n)
	}
	if b.fw.planOutdated() {
		b.apply("")
	}
	b.expectCover("after its end", false, local)
	if b.fw.planOutdated() {
		t.Error("a fresh plan is outdated")
	}
}

// expectCover tells whether the guard and the filter have the replies of 10.1.0.1:80,
// and whether the director answers for the local address, if there is one, that they
// go to.
func (b *testbed) expectCover(when string, want bool, local netip.Addr) {
	b.t.Helper()
	p, from := b.fw.newPlan(), netip.MustParseAddrPort("10.1.0.1:80")
	guarded := slices.Contains(p.Guard(nil).Servers, guard.Tuple{Proto: frame.ProtoTCP, Addr: from.Addr(), Port: from.Port()})
	filtered := p.Expects(frame.ProtoTCP, from)
	if guarded != want || filtered != want {
		b.t.Errorf("%s: guard %t and filter %t have the server's replies, want %t", when, guarded, filtered, want)
	}
	if answered := p.Answers(local); local.IsValid() && answered != want {
		b.t.Errorf("%s: %s is answered for: %t, want %t", when, local, answered, want)
	}
}

func TestTheGuardHasTheDataOfPersistentFTP(t *testing.T) {
	for rules, want := range map[string]bool{
		"-A -t 10.2.0.1:21 -s rr -p 60": true,
		"-A -t 10.2.0.1:21 -s rr":       false, // its helper announces each connection
		"-A -t 10.2.0.1:80 -s rr -p 60": false,
	} {
		matches := newTestbed(t, rules).fw.newPlan().Guard(nil).Marks
		for _, ports := range [][2]uint16{{20, 20}, {1024, 65535}} {
			data := guard.Match{Dst: netip.MustParsePrefix("10.2.0.1/32"), Proto: frame.ProtoTCP, DstPorts: ports, Drop: true}
			if got := slices.Contains(matches, data); got != want {
				t.Errorf("%s: ports %v are kept from the host: %t, want %t", rules, ports, got, want)
			}
		}
	}
}

func TestStraySegmentsOfAMarkAreAnsweredOnTheHostsBehalf(t *testing.T) {
	b := newMarkTestbed(t, "rr", config.MarkRule{Proto: config.TCP, DstPorts: config.PortRange{First: 7001, Last: 7001}, Mark: 1})
	b.net.forward = true
	b.net.local = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.2.0.1") }
	b.expect("a segment for an address of the host is reset", 1, seg(t, 1, aClient, "10.2.0.1:7001", ack, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 7001>30001")
	b.expect("one that passes by is routed", 1, seg(t, 1, aClient, "10.1.0.77:7001", ack, ""),
		"server 02:00:00:01:00:4d 172.16.0.9>10.1.0.77 tcp 30001>7001")
}

// Recorded from Linux 6.1: what a router does not forward is no packet of the
// connection's, and an error of the director's own counts as the server's where its
// copy of the packet has the virtual address.
func TestWhatCountsOfRepliesAndErrors(t *testing.T) {
	for _, c := range []struct {
		what, method string
		link         int
		ttl          uint8
		df           bool
		data         int
		want         service.Traffic // beside the SYN
	}{
		{"a reply", "-m", 2, 64, false, 0, service.Traffic{OutPkts: 1, OutBytes: 40}},
		{"a reply whose TTL is used up", "-m", 2, 1, false, 0, service.Traffic{}},
		{"a reply too large for the client's way", "-m", 2, 64, true, 1400, service.Traffic{}},
		{"a reply that may be cut for it", "-m", 2, 64, false, 1400, service.Traffic{OutPkts: 1, OutBytes: 1440}},
		{"a request whose TTL is used up", "-m", 1, 1, false, 0, service.Traffic{InPkts: 1, InBytes: 40}},
		{"a request whose TTL is used up", "-g", 1, 1, false, 0, service.Traffic{InPkts: 1, InBytes: 40, OutPkts: 1, OutBytes: 68}},
		{"a request whose TTL is used up", "-i", 1, 1, false, 0, service.Traffic{InPkts: 1, InBytes: 40, OutPkts: 1, OutBytes: 68}},
		{"a request too large for the way", "-g", 1, 64, true, 1400, service.Traffic{InPkts: 1, InBytes: 1440, OutPkts: 1, OutBytes: 576}},
		{"a request too large for the way", "-i", 1, 64, true, 1400, service.Traffic{InPkts: 1, InBytes: 1440, OutPkts: 1, OutBytes: 576}},
	} {
		b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 "+c.method)
		b.net.mtu = map[string]int{"c0": 1300, "r0": 1300}
		b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
		before := b.fw.Total.Load()
		b.send(c.link, segmentOf(c.link, c.ttl, c.df, c.data))
		got := b.fw.Total.Load()
		got.Conns, got.InPkts, got.InBytes, got.OutPkts, got.OutBytes = 0, got.InPkts-before.InPkts,
			got.InBytes-before.InBytes, got.OutPkts-before.OutPkts, got.OutBytes-before.OutBytes
		if got != c.want {
			t.Errorf("%s by %s counts %+v, want %+v", c.what, c.method, got, c.want)
		}
		if state := b.fw.Connections()[0].State; c.link == 2 && (state == "ESTABLISHED") != (c.want.OutPkts == 1) {
			t.Errorf("%s leaves the connection %s", c.what, state)
		}
	}
}

// segmentOf is a segment of the connection between aClient and aVirtual, whose
// server is 10.1.0.1:80: a request on link 1, a reply on link 2.
func segmentOf(link int, ttl uint8, df bool, data int) []byte {
	p := frametest.Packet{Src: aClient, Dst: aVirtual, ID: 1, TTL: ttl, DF: df, Transport: frametest.TCP(ack, 0, 0), Data: string(make([]byte, data))}
	if link == 2 {
		p.Src, p.Dst = "10.1.0.1:80", aClient
	}
	return onLink(link, p)
}

// Of Linux 6.1.192 these were the outcomes of most runs: there a tick of the clock
// decides.
func TestWhatIsRemovedAndBackInOneRunKeepsItsConnectionsOrNot(t *testing.T) {
	key := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80}.Normal()
	server := config.Server{Addr: netip.MustParseAddr("10.1.0.1"), Port: 80, Weight: 1}
	add := config.Command{Op: config.OpAddService, Service: &config.Service{Key: key, Scheduler: "rr"}}
	addServer := config.Command{Op: config.OpAddServer, Service: &config.Service{Key: key}, Server: &server}
	deleteServer := addServer
	deleteServer.Op = config.OpDeleteServer
	for _, c := range []struct {
		what   string
		nodest string
		run    []config.Command
		kept   int
	}{
		{"-C; -A; -a", "1", []config.Command{{Op: config.OpFlush}, add, addServer}, 0},
		{"-D; -A; -a", "1", []config.Command{{Op: config.OpDeleteService, Service: &config.Service{Key: key}}, add, addServer}, 0},
		{"-d; -a", "1", []config.Command{deleteServer, addServer}, 1},
		{"-C; -A; -a", "0", []config.Command{{Op: config.OpFlush}, add, addServer}, 1},
	} {
		b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m")
		b.sysctl("expire_nodest_conn", c.nodest)
		b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
		for _, err := range b.fw.Apply(c.run, false) {
			mustDo(t, err)
		}
		if n := b.fw.conns.Len(); n != c.kept {
			t.Errorf("%s with expire_nodest_conn=%s leaves %d connections, want %d", c.what, c.nodest, n, c.kept)
		}
	}
}

// TestRequestsOfConnectionsThatLiveAreNotTheHosts: while connections of a service
// live that is gone, its port is kept from the host, which gets what is for it.
func TestRequestsOfConnectionsThatLiveAreNotTheHosts(t *testing.T) {
	for what, c := range map[string]struct {
		setup, to string
		change    func(b *testbed)
		kept      func(r guard.Rules) bool
	}{
		"a service that was removed": {"-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80", aVirtual,
			func(b *testbed) { b.apply("-D -t 10.2.0.1:80") },
			func(r guard.Rules) bool {
				return slices.Contains(r.Virtual, guard.Tuple{Proto: frame.ProtoTCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80})
			}},
		"an FTP service that is persistent no more": {"-A -t 10.2.0.1:21 -s rr -p 60\n-a -t 10.2.0.1:21 -r 10.1.0.1:21", "10.2.0.1:4000",
			func(b *testbed) { b.apply("-E -t 10.2.0.1:21 -s rr") },
			func(r guard.Rules) bool {
				return slices.ContainsFunc(r.Marks, func(m guard.Match) bool { return m.DstPorts == [2]uint16{service.UnprivilegedPorts, 65535} })
			}},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newTestbed(t, other+c.setup)
				b.net.local = isVirtual
				b.fw.conf.Guard = noGuard{}
				b.send(1, seg(t, 1, aClient, c.to, syn, ""))
				c.change(b)
				stranger := flowOf(seg(t, 1, "172.16.0.77:40000", c.to, syn, ""))
				if !c.kept(b.fw.newPlan().Guard(nil)) || !b.fw.view.Load().OnlyForOrphans(stranger) || b.fw.planOutdated() {
					t.Error("while its connection lives the host has its packets, or none of its own")
				}
				b.pass(61 * time.Second) // SYN_RECV
				b.pass(300 * time.Second)
				if b.fw.planOutdated() {
					b.apply("")
				}
				if c.kept(b.fw.newPlan().Guard(nil)) || b.fw.view.Load().OnlyForOrphans(stranger) || b.fw.planOutdated() {
					t.Error("after its end packets are kept from the host")
				}
			})
		})
	}
}
