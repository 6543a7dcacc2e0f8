package service

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/sched"
)

func rr(k config.Key) config.Service { return config.Service{Key: k, Scheduler: "rr"} }

func table(t *testing.T, services ...config.Service) *Table {
	t.Helper()
	s := New(sched.New)
	for _, c := range services {
		if err := s.AddService(c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

var vip = tcp("10.0.0.1:80")

func TestErrorsAreTheKernels(t *testing.T) {
	none := tcp("10.0.0.9:80")
	bad := masq("10.1.0.2:80", 1)
	for name, c := range map[string]struct {
		do   func(s *Table) error
		want error
	}{
		"add a service twice": {func(s *Table) error { return s.AddService(rr(vip)) }, config.ErrServiceExists},
		"add one with an unknown scheduler": {func(s *Table) error {
			return s.AddService(config.Service{Key: none, Scheduler: "nosuch"})
		}, config.ErrNoScheduler},
		"add one with an unknown engine": {func(s *Table) error {
			return s.AddService(config.Service{Key: none, PE: "nosuch"})
		}, config.ErrNoScheduler},
		"edit one that is not there":      {func(s *Table) error { return s.EditService(rr(none)) }, config.ErrNoSuchService},
		"delete one that is not there":    {func(s *Table) error { return s.DeleteService(none) }, config.ErrNoSuchService},
		"zero one that is not there":      {func(s *Table) error { return s.Zero(&none) }, config.ErrNoSuchService},
		"a server for no service":         {func(s *Table) error { return s.AddServer(none, bad) }, config.ErrNoSuchService},
		"a server twice":                  {func(s *Table) error { return s.AddServer(vip, masq("10.1.0.1:80", 9)) }, config.ErrServerExists},
		"edit a server that is not there": {func(s *Table) error { return s.EditServer(vip, bad) }, config.ErrNoSuchServer},
		"delete a server that is not there": {func(s *Table) error {
			return s.DeleteServer(vip, bad.AddrPort())
		}, config.ErrNoSuchServer},
		"a negative weight": {func(s *Table) error { return s.AddServer(vip, masq("10.1.0.2:80", -1)) }, config.ErrRange},
		"a lower threshold above the upper": {func(s *Table) error {
			c := bad
			c.Upper, c.Lower = 4, 5
			return s.AddServer(vip, c)
		}, config.ErrRange},
		"a lower threshold above the upper, for no service": {func(s *Table) error {
			c := bad
			c.Lower = 5
			return s.Apply([]config.Command{{Op: config.OpAddServer, Service: &config.Service{Key: none}, Server: &c}}, false)[0]
		}, config.ErrNoSuchService},
		"a gue server without port": {func(s *Table) error {
			c := bad
			c.Method, c.TunnelType = sched.Tunnel, config.GUE
			return s.AddServer(vip, c)
		}, config.ErrInvalid},
		"an IPv6 server by NAT":  {func(s *Table) error { return s.AddServer(vip, masq("[fd00::1]:80", 1)) }, config.ErrInvalid},
		"a multicast server":     {func(s *Table) error { return s.AddServer(vip, masq("224.0.0.1:80", 1)) }, config.ErrInvalid},
		"a broadcast server":     {func(s *Table) error { return s.AddServer(vip, masq("255.255.255.255:80", 1)) }, config.ErrInvalid},
		"a server 0.0.0.0":       {func(s *Table) error { return s.AddServer(vip, masq("0.0.0.0:80", 1)) }, config.ErrInvalid},
		"a local address twice":  {func(s *Table) error { return s.AddLocal(vip, netip.MustParseAddr("10.0.0.2")) }, config.ErrLocalExists},
		"no such local address":  {func(s *Table) error { return s.DeleteLocal(vip, netip.MustParseAddr("10.0.0.3")) }, config.ErrNoSuchLocal},
		"an IPv6 local address":  {func(s *Table) error { return s.AddLocal(vip, netip.MustParseAddr("fd00::1")) }, config.ErrInvalid},
		"port 0, not persistent": {func(s *Table) error { return s.AddService(rr(tcp("10.0.0.1:0"))) }, config.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := table(t, rr(vip))
			mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
			mustDo(t, s.AddLocal(vip, netip.MustParseAddr("10.0.0.2")))
			before := fmt.Sprint(s.Services())
			if err := c.do(s); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if after := fmt.Sprint(s.Services()); after != before {
				t.Errorf("the table changed:\n%s\n%s", before, after)
			}
		})
	}
}

func TestMatchFindsTheServiceIPVSFinds(t *testing.T) {
	persistent := func(k config.Key) config.Service { return config.Service{Key: k, Persistent: 60} }
	udp := vip
	udp.Proto = config.UDP
	mapped := tcp("[::ffff:10.0.0.7]:80")
	s := table(t, rr(vip), rr(udp), persistent(tcp("10.0.0.1:0")), rr(tcp("10.0.0.2:21")), rr(mapped),
		rr(tcp("[fd00::1]:80")), rr(config.Key{Mark: 7}), rr(config.Key{Mark: 7, Family: config.IPv6}))
	for _, c := range []struct {
		name  string
		proto uint8
		dst   string
		mark  uint32
		want  string
	}{
		{"exact", frame.ProtoTCP, "10.0.0.1:80", 0, "-t 10.0.0.1:80"},
		{"another protocol", frame.ProtoUDP, "10.0.0.1:80", 0, "-u 10.0.0.1:80"},
		{"SCTP has none", frame.ProtoSCTP, "10.0.0.1:80", 0, ""},
		{"another port goes to port 0", frame.ProtoTCP, "10.0.0.1:81", 0, "-t 10.0.0.1:0"},
		{"port 0 is of its protocol", frame.ProtoUDP, "10.0.0.1:81", 0, ""},
		{"FTP data port", frame.ProtoTCP, "10.0.0.2:20", 0, "-t 10.0.0.2:21"},
		{"FTP passive port", frame.ProtoTCP, "10.0.0.2:1024", 0, "-t 10.0.0.2:21"},
		{"no FTP on a privileged port", frame.ProtoTCP, "10.0.0.2:1023", 0, ""},
		{"no FTP by UDP", frame.ProtoUDP, "10.0.0.2:2000", 0, ""},
		{"IPv6", frame.ProtoTCP, "[fd00::1]:80", 0, "-t [fd00::1]:80"},
		{"a mark comes first", frame.ProtoTCP, "10.0.0.1:80", 7, "-f 7"},
		{"a mark of IPv6", frame.ProtoUDP, "[fd00::2]:9", 7, "-f 7 -6"},
		{"a mark without service", frame.ProtoTCP, "10.0.0.1:80", 8, "-t 10.0.0.1:80"},
		{"an IPv4 packet is not for a mapped address", frame.ProtoTCP, "10.0.0.7:80", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := netip.MustParseAddrPort(c.dst)
			src := netip.AddrPortFrom(dst.Addr(), 1025)
			f := frame.FlowOf(c.proto, src, dst)
			got := ""
			if v := s.Load().Match(&f, c.mark); v != nil {
				got = v.Key.String()
			}
			if got != c.want {
				t.Errorf("matched %q, want %q", got, c.want)
			}
		})
	}
}

func TestEditKeepsServersCountersAndScheduler(t *testing.T) {
	s := table(t, rr(vip))
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
	before := s.Load().Service(vip)
	before.Servers[0].Add(Traffic{Conns: 1})
	mustDo(t, s.EditService(config.Service{Key: vip, Scheduler: "rr", Persistent: 9, Netmask: "255.255.0.0"}))
	after := s.Load().Service(vip)
	if after == before || after.Sched != before.Sched || after.Servers[0] != before.Servers[0] {
		t.Error("an edit must make a new Service with the same scheduler and servers")
	}
	if after.Persistent != 9 || after.Mask[13] != 0xff || after.Mask[14] != 0 || before.Persistent != 0 {
		t.Errorf("before %+v, after %+v", before.Service, after.Service)
	}
	if got := after.Counters.Load().Conns; got != 1 {
		t.Errorf("%d connections counted, want 1", got)
	}
}

func TestAnotherSchedulerTakesTheServersOver(t *testing.T) {
	s := table(t, rr(vip))
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
	mustDo(t, s.AddServer(vip, masq("10.1.0.2:80", 1)))
	mustDo(t, s.EditService(config.Service{Key: vip, Scheduler: "lc"}))
	v := s.Load().Service(vip)
	var f frame.Flow
	for range 4 {
		v.Servers[v.Sched.Pick(&f, nil).ID-v.Servers[0].ID].Count(1, 0, 0)
	}
	if a, b := v.Servers[0].Active(), v.Servers[1].Active(); v.Sched.Name() != "lc" || a != 2 || b != 2 {
		t.Errorf("%s gave %d and %d connections, want lc and 2 for each", v.Sched.Name(), a, b)
	}
}

func TestRemovedServerComesBackWithItsConnectionsAndCounters(t *testing.T) {
	s := table(t, rr(vip))
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
	server := s.Load().Service(vip).Servers[0]
	server.Count(1, 0, 0)
	server.Add(Traffic{Conns: 1})
	mustDo(t, s.DeleteServer(vip, server.Addr))
	if server.Available() || s.Server(server.ID) != server {
		t.Error("a removed server must be found by its number and not be available")
	}
	server.Add(Traffic{InPkts: 1})
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 5)))
	s.Tick(time.Now())
	state, err := s.State(vip)
	mustDo(t, err)
	got := state.Servers[0]
	if got.ID != server.ID || got.Active != 1 || got.Weight != 5 || got.Stats.Conns != 1 || got.Stats.InPkts != 0 {
		t.Errorf("it came back as %+v", got)
	}
}

func TestServerOfAnewServiceStartsWithoutCountersButKeepsConnections(t *testing.T) {
	s := table(t, rr(vip))
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
	server := s.Load().Service(vip).Servers[0]
	server.Count(1, 0, 0)
	server.Add(Traffic{Conns: 1})
	s.Tick(time.Now())
	mustDo(t, s.Flush())
	mustDo(t, s.AddService(rr(vip)))
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
	state, err := s.State(vip)
	mustDo(t, err)
	if got := state.Servers[0]; got.ID != server.ID || got.Active != 1 || got.Stats.Conns != 0 {
		t.Errorf("it came back as %+v", got)
	}
}

func TestRemovedServerIsForgottenWhenUnusedForTwoMinutes(t *testing.T) {
	s := table(t, rr(vip))
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
	server := s.Load().Service(vip).Servers[0]
	server.Count(0, 1, 0)
	mustDo(t, s.DeleteServer(vip, server.Addr))
	now := time.Unix(1000, 0)
	tick := func(d time.Duration) {
		now = now.Add(d)
		s.Tick(now)
	}
	tick(0)
	tick(time.Hour)
	if s.Server(server.ID) == nil {
		t.Fatal("forgotten while it has a connection")
	}
	server.Count(0, -1, 0)
	tick(time.Minute)
	tick(time.Minute)
	if s.Server(server.ID) == nil {
		t.Fatal("forgotten within two minutes")
	}
	tick(time.Minute)
	if s.Server(server.ID) != nil {
		t.Fatal("not forgotten")
	}
	mustDo(t, s.AddServer(vip, masq("10.1.0.2:80", 1)))
	if got := s.Load().Service(vip).Servers[0]; got.ID != server.ID || got == server {
		t.Errorf("a new server got number %d, want the free number %d", got.ID, server.ID)
	}
}

func TestApplyIsSeenAsAWhole(t *testing.T) {
	s := table(t, rr(vip))
	before := s.Load()
	var commands []config.Command
	for i := range 50 {
		server := masq(fmt.Sprintf("10.1.0.%d:80", i+1), 1)
		commands = append(commands, config.Command{Op: config.OpAddServer, Service: &config.Service{Key: vip}, Server: &server})
	}
	commands = append(commands, commands[0], config.Command{Op: "nonsense"})
	errs := s.Apply(commands, false)
	if len(errs) != 52 || errs[49] != nil || !errors.Is(errs[50], config.ErrServerExists) || !errors.Is(errs[51], config.ErrInvalid) {
		t.Errorf("errors %v", errs[48:])
	}
	if n := len(before.Service(vip).Servers); n != 0 {
		t.Errorf("the snapshot from before has %d servers, want 0", n)
	}
	if n := len(s.Load().Service(vip).Servers); n != 50 {
		t.Errorf("the snapshot from after has %d servers, want 50", n)
	}
}

func TestAtomicApplyDoesAllOrNothing(t *testing.T) {
	s := table(t, rr(vip))
	mustDo(t, s.AddServer(vip, masq("10.1.0.1:80", 1)))
	one, two := masq("10.1.0.2:80", 1), masq("10.1.0.3:80", 1)
	good := []config.Command{
		{Op: config.OpDeleteServer, Service: &config.Service{Key: vip}, Server: &config.Server{Addr: netip.MustParseAddr("10.1.0.1"), Port: 80}},
		{Op: config.OpAddServer, Service: &config.Service{Key: vip}, Server: &one},
		{Op: config.OpAddServer, Service: &config.Service{Key: vip}, Server: &two},
		{Op: config.OpEditService, Service: &config.Service{Key: vip, Scheduler: "wlc"}},
	}
	before := fmt.Sprint(s.Services())
	for name, last := range map[string]config.Command{
		"a duplicate":          good[1],
		"an unknown scheduler": {Op: config.OpEditService, Service: &config.Service{Key: vip, Scheduler: "nosuch"}},
		"a missing server":     good[0],
	} {
		errs := s.Apply(append(slices.Clone(good), last), true)
		if len(errs) != 5 || errs[3] != nil || errs[4] == nil {
			t.Errorf("%s: errors %v, want one for the last command", name, errs)
		}
		if after := fmt.Sprint(s.Services()); after != before {
			t.Errorf("%s: the table changed:\n%s\n%s", name, before, after)
		}
	}
	if errs := s.Apply(good, true); slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		t.Errorf("errors %v, want none", errs)
	}
	if v := s.Load().Service(vip); len(v.Servers) != 2 || v.Sched.Name() != "wlc" {
		t.Errorf("%s with %d servers, want wlc with 2", v.Sched.Name(), len(v.Servers))
	}
}

func TestPublishedSnapshotsNeverChange(t *testing.T) {
	s := table(t, rr(vip))
	for i := range 8 {
		mustDo(t, s.AddServer(vip, masq(fmt.Sprintf("10.1.0.%d:80", i+1), 1)))
	}
	v := s.Load().Service(vip)
	first := slices.Clone(v.Servers)
	mustDo(t, s.DeleteServer(vip, first[2].Addr))
	mustDo(t, s.AddServer(vip, masq("10.1.0.99:80", 1)))
	if !slices.Equal(v.Servers, first) {
		t.Error("the list of a published service changed")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	s := table(t, rr(vip), rr(config.Key{Mark: 7}), rr(tcp("10.0.0.1:21")))
	f := frame.FlowOf(frame.ProtoTCP, netip.MustParseAddrPort("172.16.0.1:1025"), netip.MustParseAddrPort("10.0.0.1:80"))
	if n := testing.AllocsPerRun(100, func() { s.Load().Match(&f, 3) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	s := New(sched.New)
	for i := range 1000 {
		k := tcp(fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1))
		if err := s.AddService(rr(k)); err != nil {
			b.Fatal(err)
		}
	}
	f := frame.FlowOf(frame.ProtoTCP, netip.MustParseAddrPort("172.16.0.1:1025"), netip.MustParseAddrPort("10.0.2.7:80"))
	b.ReportAllocs()
	for b.Loop() {
		s.Load().Match(&f, 0)
	}
}

func BenchmarkAddAServiceToHundredThousand(b *testing.B) {
	s := New(sched.New)
	for i := range 100_000 {
		k := tcp(fmt.Sprintf("10.%d.%d.1:%d", i/65536, i/256%256, i%256+1))
		if err := s.AddService(rr(k)); err != nil {
			b.Fatal(err)
		}
	}
	extra := tcp("192.0.2.1:80")
	b.ReportAllocs()
	for b.Loop() {
		s.AddService(rr(extra))
		s.DeleteService(extra)
	}
}

func tcp(addrPort string) config.Key {
	a := netip.MustParseAddrPort(addrPort)
	return config.Key{Proto: config.TCP, Addr: a.Addr(), Port: a.Port()}.Normal()
}

func masq(addrPort string, weight int32) config.Server {
	a := netip.MustParseAddrPort(addrPort)
	return config.Server{Addr: a.Addr(), Port: a.Port(), Method: sched.Masq, Weight: weight}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
