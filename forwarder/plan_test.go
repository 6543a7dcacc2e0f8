package forwarder

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/guard"
	"uvs/sched"
)

// recorder is a Guard that records its rules.
type recorder struct {
	noGuard
	have    map[string]bool
	marks   []guard.Match
	changed int // tuples and addresses by Change
	sets    int
}

func (r *recorder) Set(rules guard.Rules) error {
	r.have, r.marks = map[string]bool{}, rules.Marks
	r.put(rules, true)
	r.sets++
	return nil
}

func (r *recorder) Change(c guard.Change) error {
	r.put(c.Add, true)
	r.put(c.Remove, false)
	if c.Marks != nil {
		r.marks = c.Marks
	}
	r.changed += len(c.Add.Virtual) + len(c.Add.Servers) + len(c.Add.Local) +
		len(c.Remove.Virtual) + len(c.Remove.Servers) + len(c.Remove.Local)
	return nil
}

func (r *recorder) put(rules guard.Rules, in bool) {
	put := func(key string) {
		if delete(r.have, key); in {
			r.have[key] = true
		}
	}
	for _, t := range rules.Virtual {
		put(fmt.Sprint("virtual ", t))
	}
	for _, t := range rules.Servers {
		put(fmt.Sprint("server ", t))
	}
	for _, a := range rules.Local {
		put(fmt.Sprint("local ", a))
	}
}

// newGuardedTestbed is a testbed with a guard.
func newGuardedTestbed(t *testing.T) (*testbed, *recorder) {
	b, r := newTestbed(t, ""), &recorder{}
	b.fw.conf.Guard, b.fw.conf.Interfaces = r, []string{"c", "s"}
	mustDo(t, b.fw.RebuildPlan())
	return b, r
}

// TestAnUpdatedPlanEqualsANewOne makes random changes while connections come and go. After
// each, the updated plan must equal one that is built from scratch.
func TestAnUpdatedPlanEqualsANewOne(t *testing.T) {
	for seed := range uint64(20) {
		b, r := newGuardedTestbed(t)
		local := netip.MustParseAddr("10.2.0.3")
		b.net.local = func(a netip.Addr) bool { return a == local || a == netip.MustParseAddr("10.1.255.254") }
		mustDo(t, b.fw.RebuildPlan())
		random := rand.New(rand.NewPCG(seed, 7))
		for step := range 100 {
			what := randomChange(b, random)
			if b.fw.planOutdated() {
				mustDo(t, b.fw.RebuildPlan())
			}
			checkPlan(t, b, r, fmt.Sprintf("seed %d, step %d, %s", seed, step, what))
			if t.Failed() {
				return
			}
		}
	}
}

func randomChange(b *testbed, random *rand.Rand) string {
	fw, n := b.fw, random.IntN
	key := config.Key{Proto: []config.Proto{config.TCP, config.UDP}[n(2)],
		Addr: netip.AddrFrom4([4]byte{10, 2, 0, byte(1 + n(4))}), Port: []uint16{21, 80, 500, 5060}[n(4)]}
	if n(4) == 0 {
		key = config.Key{Mark: uint32(1 + n(3))}
	}
	server := config.NewServer()
	server.Addr, server.Port = netip.AddrFrom4([4]byte{10, 1, 0, byte(1 + n(4))}), []uint16{80, 500}[n(2)]
	server.Method = []sched.Method{sched.Masq, sched.Route, sched.FullNAT}[n(3)]
	rule := config.MarkRule{Mark: uint32(n(4)), Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(1 + n(8))}), 32-n(2)*8)}
	if rule.Dst = rule.Dst.Masked(); n(2) == 0 {
		rule.Proto, rule.DstPorts = config.UDP, config.PortRange{First: 500, Last: 500}
	}
	service := config.Service{Key: key, Scheduler: "rr", Persistent: uint32(60 * n(2))}
	if key.Proto == config.UDP && key.Port == 5060 {
		service.PE = "sip"
	}
	var err error
	what := []string{"-A", "-a", "-a", "-e", "-d", "-D", "-E", "laddr", "no laddr", "mark", "no mark", "-C", "batch", "begin", "begin", "end", "vip"}[n(17)]
	switch what {
	case "begin":
		for i := range 12 { // to all TCP services, and as FTP's data to all addresses
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(1 + i%4)}), []uint16{21, 80, 4000}[i/4])
			b.send(1, seg(b.t, 1, fmt.Sprintf("172.16.0.9:%d", 1024+n(60000)), to.String(), syn, ""))
		}
	case "end":
		endConnections(fw, func() bool { return n(4) == 0 })
	case "vip":
		err = fw.SetVIPRole(key, []config.VIPRole{config.VIPDefault, config.VIPAlways, config.VIPHost, config.VIPNone}[n(4)])
	case "-A":
		err = fw.AddService(service)
	case "-a":
		err = fw.AddServer(key, server)
	case "-e":
		err = fw.EditServer(key, server)
	case "-d":
		err = fw.DeleteServer(key, server.AddrPort())
	case "-D":
		err = fw.DeleteService(key)
	case "-E":
		err = fw.EditService(service)
	case "laddr":
		err = fw.AddLocal(key, netip.AddrFrom4([4]byte{10, 2, 0, byte(1 + n(6))}))
	case "no laddr":
		err = fw.DeleteLocal(key, netip.AddrFrom4([4]byte{10, 2, 0, byte(1 + n(6))}))
	case "mark":
		err = fw.AddMark(rule)
	case "no mark":
		err = fw.DeleteMark(rule)
	case "-C":
		if n(5) == 0 {
			err = fw.Flush()
		}
	case "batch":
		fw.Apply([]config.Command{{Op: config.OpDeleteService, Service: &service}, {Op: config.OpAddService, Service: &service},
			{Op: config.OpAddServer, Service: &service, Server: &server}}, n(2) == 0)
	}
	return fmt.Sprint(what, " ", key, " ", server.AddrPort(), " ", err)
}

// endConnections ends the connections that are chosen.
func endConnections(fw *Forwarder, chosen func() bool) {
	r := fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool {
		if chosen() && c.Controls() == 0 {
			fw.endConn(r, c, fw.now())
		}
		return true
	})
}

// checkPlan compares an updated plan with a new one, and with what the guard and the network
// were given.
func checkPlan(t *testing.T, b *testbed, r *recorder, after string) {
	t.Helper()
	fresh, got := b.fw.newPlan(), b.fw.applied
	want, have := fresh.Contents(), got.Contents()
	want["told"], have["told"] = fresh.Contents()["matches"], r.marks
	have["server_addrs"] = slices.SortedFunc(maps.Keys(b.fw.checkedServers), netip.Addr.Compare)
	have["answered"] = b.net.owned
	for what := range want {
		if diff := cmp.Diff(want[what], have[what], cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s: %s (-anew +followed)\n%s", after, what, diff)
		}
	}
	if !got.SameFilters(fresh) {
		t.Errorf("%s: the filters differ", after)
	}
	told := &recorder{}
	_ = told.Set(fresh.Guard(nil))
	if diff := cmp.Diff(told.have, r.have); diff != "" {
		t.Errorf("%s: the guard (-anew +told)\n%s", after, diff)
	}
}

// TestAChangeCostsWhatChanges counts the work for one change beside 10,000
// services, 10,000 servers of one service and 12,000 mark rules.
func TestAChangeCostsWhatChanges(t *testing.T) {
	const services, marks = 10_000, 12_000
	b, r := newGuardedTestbed(t)
	numbered := func(net byte, i int) netip.Addr { return netip.AddrFrom4([4]byte{10, net, byte(i >> 8), byte(i)}) }
	big := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.3.0.1"), Port: 80}
	var all []config.Command
	add := func(k config.Key, server netip.Addr) {
		all = append(all, config.Command{Op: config.OpAddServer, Service: &config.Service{Key: k},
			Server: &config.Server{Addr: server, Port: 80, Method: sched.Masq, Weight: 1}})
	}
	all = append(all, config.Command{Op: config.OpAddService, Service: &config.Service{Key: big, Scheduler: "rr"}},
		config.Command{Op: config.OpAddService, Service: &config.Service{Key: config.Key{Mark: 1}, Scheduler: "rr"}})
	for i := range services {
		k := config.Key{Proto: config.TCP, Addr: numbered(2, 3*i), Port: 80}
		all = append(all, config.Command{Op: config.OpAddService, Service: &config.Service{Key: k, Scheduler: "rr"}})
		add(k, numbered(1, i))
		add(big, numbered(1, i))
	}
	for i, err := range b.fw.Apply(all, false) {
		mustDo(t, err)
		_ = i
	}
	rules := make([]config.MarkRule, marks)
	for i := range rules {
		rules[i] = config.MarkRule{Mark: 1, Dst: netip.PrefixFrom(numbered(4, i), 32)}
	}
	mustDo(t, b.fw.SetMarks(rules))
	key := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 81}
	server := config.Server{Addr: netip.MustParseAddr("10.1.0.1"), Port: 81, Method: sched.Masq, Weight: 1}
	rule := config.MarkRule{Mark: 1, Dst: netip.MustParsePrefix("10.5.0.1/32")}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"-A", func() error { return b.fw.AddService(config.Service{Key: key, Scheduler: "rr"}) }},
		{"-a", func() error { return b.fw.AddServer(key, server) }},
		{"-e", func() error { return b.fw.EditServer(key, server) }},
		{"policy", func() error { return b.fw.SetPolicy(key, config.Policy{Drain: 3}) }},
		{"-d", func() error { return b.fw.DeleteServer(key, server.AddrPort()) }},
		{"-D", func() error { return b.fw.DeleteService(key) }},
		{"-a beside 10,000 servers", func() error { return b.fw.AddServer(big, server) }},
		{"-d beside 10,000 servers", func() error { return b.fw.DeleteServer(big, server.AddrPort()) }},
		{"an atomic batch", func() error {
			errs := b.fw.Apply([]config.Command{{Op: config.OpAddService, Service: &config.Service{Key: key, Scheduler: "rr"}}}, true)
			return errs[0]
		}},
		{"one more mark", func() error { return b.fw.AddMark(rule) }},
		{"one mark less", func() error { return b.fw.DeleteMark(rule) }},
	} {
		told, sets := r.changed, r.sets
		facts, built := b.fw.applied.Cost()
		mustDo(t, c.do())
		factsNow, builtNow := b.fw.applied.Cost()
		if n := factsNow - facts; n > 30 {
			t.Errorf("%s: %d facts were counted", c.name, n)
		}
		if n := r.changed - told; n > 10 || r.sets != sets {
			t.Errorf("%s: the guard was told of %d tuples, and %d times of all", c.name, n, r.sets-sets)
		}
		if n := builtNow - built; n > 8 {
			t.Errorf("%s: %d filters were built", c.name, n)
		}
	}
}
