package service

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/state"
	"uvs/sched"
)

// outcome is all that a table shows, and what it knows of servers that are not shown.
type outcome struct {
	Services []config.ServiceState
	Totals   config.Stats
	Marks    []config.MarkRule
	Removed  []removedServer
	Draining []string
}

type removedServer struct {
	ID         sched.ID
	Key        config.Key
	Options    config.Server
	Policy     config.Policy
	DrainStart conntrack.Tick
	DrainEnd   uint32
	Locals     []netip.Addr
	WasMasq    bool
	LastWeight int32
	Counted    Traffic
}

func outcomeOf(s *Table) (o outcome) {
	o.Services, o.Totals, o.Marks = s.Services(), s.Totals(), s.Marks()
	for _, server := range s.RemovedServers() {
		r := removedServer{
			ID: server.ID, Key: server.Key, Options: *server.Options(), DrainStart: server.drainStart, DrainEnd: server.drainEnd.Load(),
			Locals: server.locals, WasMasq: server.WasMasq.Load(), LastWeight: server.LastWeight(), Counted: server.Counters.Load(),
		}
		if p := server.Policy.Load(); p != nil {
			r.Policy = *p
		}
		o.Removed = append(o.Removed, r)
	}
	for server := range s.draining {
		o.Draining = append(o.Draining, fmt.Sprint(server.Key, server.Addr))
	}
	slices.Sort(o.Draining)
	return o
}

// life is a director's configuration over several processes.
type life struct {
	dir   string
	now   conntrack.Tick
	state *state.State
	table *Table
}

// begin is a process that adopts what the last one left.
func (l *life) begin(t testing.TB) {
	t.Helper()
	var err error
	if l.state, err = state.Open(state.Options{Dir: l.dir}); err != nil {
		t.Fatal(err)
	}
	l.table = New(sched.New)
	l.table.Clock = func() conntrack.Tick { return l.now }
	if err := l.table.Restore(l.state); err != nil {
		t.Fatal(err)
	}
}

// kill ends it without a word.
func (l *life) kill() {
	_ = l.state.Close()
	l.state.Unmap()
}

// step changes something at random. Errors are those of the table's rules, and part of
// the game.
func (l *life) step(t *rapid.T) {
	s := l.table
	key := rapid.SampledFrom([]config.Key{tcp("10.0.0.1:80"), tcp("10.0.0.2:21"), {Mark: 7}, {Proto: config.UDP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 53}})
	addr := rapid.SampledFrom([]string{"10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80"})
	server := func() config.Server {
		c := masq(addr.Draw(t, "server"), rapid.Int32Range(0, 3).Draw(t, "weight"))
		c.Method = rapid.SampledFrom([]sched.Method{sched.Masq, sched.Route, sched.Tunnel}).Draw(t, "method")
		c.Upper = rapid.Uint32Range(0, 3).Draw(t, "upper")
		return c
	}
	policy := func() config.Policy {
		return config.Policy{Gone: config.Gone(rapid.IntRange(0, 2).Draw(t, "gone")), Drain: rapid.Uint32Range(0, 2).Draw(t, "drain") * 30}
	}
	mark := func() config.MarkRule {
		return config.MarkRule{Proto: config.TCP, DstPorts: config.PortRange{First: 80, Last: 80}, Mark: rapid.Uint32Range(0, 9).Draw(t, "mark")}
	}
	l.now += conntrack.Tick(rapid.IntRange(0, 20).Draw(t, "ticks"))
	switch rapid.IntRange(0, 14).Draw(t, "step") {
	case 0, 1:
		_ = s.AddService(config.Service{Key: key.Draw(t, "key"), Scheduler: rapid.SampledFrom([]string{"rr", "wlc", "mh"}).Draw(t, "scheduler"), Policy: policy()})
	case 2:
		_ = s.EditService(config.Service{Key: key.Draw(t, "key"), Scheduler: "lc", Persistent: 300})
	case 3:
		_ = s.DeleteService(key.Draw(t, "key"))
	case 4, 5, 6:
		_ = s.AddServer(key.Draw(t, "key"), server())
	case 7:
		_ = s.EditServer(key.Draw(t, "key"), server())
	case 8:
		_ = s.DeleteServer(key.Draw(t, "key"), netip.MustParseAddrPort(addr.Draw(t, "server")))
	case 9:
		_ = s.SetPolicy(key.Draw(t, "key"), policy())
	case 10:
		_ = s.AddMark(mark())
	case 11:
		_ = s.DeleteMark(mark())
	case 12:
		_ = s.SetMarks([]config.MarkRule{mark(), mark()})
	case 13:
		_ = s.AddLocal(key.Draw(t, "key"), netip.AddrFrom4([4]byte{10, 2, 0, byte(rapid.IntRange(1, 3).Draw(t, "local"))}))
	case 14:
		_ = s.Zero(nil)
	}
	l.traffic(t)
}

// traffic counts, and lets time pass.
func (l *life) traffic(t *rapid.T) {
	for id := range l.table.numbers.used + 1 {
		if server := l.table.Server(id); server != nil && rapid.IntRange(0, 2).Draw(t, "traffic") == 0 {
			server.Add(Traffic{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 400, OutBytes: 500})
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "tick") == 0 {
		l.table.Tick(time.Time{}.Add(time.Duration(l.now) * 100 * time.Millisecond))
	}
}

func TestATableIsWhatItWasAfterAKill(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		l := &life{dir: dir, now: 1}
		l.begin(t)
		for range rapid.IntRange(1, 5).Draw(rt, "kills") {
			for range rapid.IntRange(1, 25).Draw(rt, "steps") {
				l.step(rt)
			}
			want := outcomeOf(l.table)
			l.kill()
			l.begin(t)
			if diff := cmp.Diff(want, outcomeOf(l.table), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				rt.Fatal(diff)
			}
		}
		l.kill()
	})
}

// The overload state depends on what was before: at 3 of 4 connections it may be either.
func TestAnOverloadedServerStaysSo(t *testing.T) {
	l := &life{dir: t.TempDir(), now: 1}
	l.begin(t)
	c := masq("10.1.0.1:80", 1)
	c.Upper = 4
	if err := errors.Join(l.table.AddService(rr(vip)), l.table.AddServer(vip, c)); err != nil {
		t.Fatal(err)
	}
	s := l.table.Load().Service(vip).Servers[0]
	s.Count(4, 0, 0)
	s.Count(-1, 0, 0)
	l.kill()
	l.begin(t)
	s = l.table.Load().Service(vip).Servers[0]
	s.Count(3, 0, 0) // as the connections are found again
	if !s.Overloaded() {
		t.Error("it takes connections again")
	}
	l.kill()
}

// What a SYN proxy offers in the place of servers is what they take, also after a kill.
func TestAnOfferIsKept(t *testing.T) {
	l := &life{dir: t.TempDir(), now: 1}
	l.begin(t)
	if err := l.table.AddService(rr(vip)); err != nil {
		t.Fatal(err)
	}
	l.table.Load().Service(vip).Offer.Learn(1300, LacksSACK)
	l.kill()
	l.begin(t)
	if o := l.table.Load().Service(vip).Offer; o.MSS(1460) != 1300 || !o.Lacks(LacksSACK) || o.Lacks(LacksScale) {
		t.Errorf("the offer is %d, SACK lacks: %v", o.MSS(1460), o.Lacks(LacksSACK))
	}
	l.kill()
}

// A check of an earlier uvs may have a timeout that no command gives any more: the state
// is not refused for that, and the check is one that a rules file can have.
func TestACheckWithALongTimeoutIsKept(t *testing.T) {
	l := &life{dir: t.TempDir(), now: 1}
	l.begin(t)
	if err := l.table.AddService(rr(vip)); err != nil {
		t.Fatal(err)
	}
	old := config.Check{Kind: config.CheckTCP, Interval: 1000, Timeout: 2000}
	if err := l.table.AddCheck(vip, old); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("a command adds it: %v", err)
	}
	_ = l.table.change(func() error {
		v := l.table.editable(l.table.byKey[vip])
		v.Checks = []config.Check{old.Full()}
		l.table.saveService(v)
		return nil
	})
	l.kill()
	l.begin(t)
	if c := l.table.Load().Service(vip).Checks; len(c) != 1 || c[0].Timeout != 1000 || c[0].ValidateRepeated(vip) != nil {
		t.Errorf("%+v", c)
	}
	l.kill()
}

// Records that a table cannot have written are refused by name.
func TestRecordsThatCannotBeTrueAreRefused(t *testing.T) {
	service := `{"protocol":"tcp","address":"10.0.0.1","port":80,"family":"ipv4","scheduler":"rr","seq":1,"counters":1}`
	server := `{"address":"10.1.0.1","port":80,"method":"masq","weight":1,"seq":2,"counters":2,"home":1,"last_weight":1}`
	for _, tt := range []struct {
		name, want, text string
		key              state.Key
	}{
		{"a setting of the future", "made by a newer uvs", `{"counters":0,"more":1}`, state.Key{Kind: state.Director}},
		{"no JSON", "config: ", `{`, state.Key{Kind: state.Service, Number: 1}},
		{"an unknown scheduler", "no scheduler", strings.Replace(service, "rr", "magic", 1), state.Key{Kind: state.Service, Number: 1}},
		{"a service twice", "is there twice", strings.Replace(service, `"counters":1`, `"counters":7`, 1), state.Key{Kind: state.Service, Number: 9}},
		{"a server without its service", "has no service", strings.Replace(server, `"home":1`, `"home":5`, 1), state.Key{Kind: state.Server, Number: 1}},
		{"a server of weight -1", "server 1: ", strings.Replace(server, `"weight":1`, `"weight":-1`, 1), state.Key{Kind: state.Server, Number: 1}},
		{"counters used twice", "counters number 1 are used twice", strings.Replace(server, `"counters":2`, `"counters":1`, 1), state.Key{Kind: state.Server, Number: 1}},
		{"counters that are not there", "are not there", strings.Replace(server, `"counters":2`, `"counters":99999`, 1), state.Key{Kind: state.Server, Number: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &life{dir: t.TempDir(), now: 1}
			l.begin(t)
			if err := errors.Join(l.table.AddService(rr(vip)), l.table.AddServer(vip, masq("10.1.0.1:80", 1))); err != nil {
				t.Fatal(err)
			}
			l.state.Commit(state.Change{Key: tt.key, Value: []byte(tt.text)})
			l.kill()
			again, err := state.Open(state.Options{Dir: l.dir})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Unmap()
			defer again.Close()
			err = New(sched.New).Restore(again)
			var refused *state.Refused
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// Counters that go back, or that no machine could count, are refused.
func TestCountersThatCannotBeTrueAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		word int
		to   uint64
	}{{"beyond all bounds", slotCounters, 1 << 63}, {"behind the last tick", slotRead, 5}, {"zeroed ahead", slotZero, 5}} {
		t.Run(tt.name, func(t *testing.T) {
			l := &life{dir: t.TempDir()}
			l.begin(t)
			l.table.Total.at[tt.word] = tt.to
			l.kill()
			again, err := state.Open(state.Options{Dir: l.dir})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Unmap()
			defer again.Close()
			if err := New(sched.New).Restore(again); err == nil || !strings.Contains(err.Error(), "state: counters: ") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Any text as a record is refused, or makes a table that can be saved again.
func FuzzRestore(f *testing.F) {
	f.Add(byte(state.Service), uint32(1), `{"protocol":"tcp","address":"10.0.0.1","port":80,"scheduler":"rr","seq":1,"counters":1}`)
	f.Add(byte(state.Server), uint32(1), `{"address":"10.1.0.1","port":80,"method":"masq","weight":1,"seq":2,"counters":2,"home":1}`)
	f.Add(byte(state.Mark), uint32(3), `{"mark":7}`)
	f.Add(byte(state.Director), uint32(0), `{"counters":4294967295}`)
	f.Fuzz(func(t *testing.T, kind byte, number uint32, text string) {
		st, err := state.Open(state.Options{})
		if err != nil {
			t.Skip(err)
		}
		defer st.Unmap()
		defer st.Close()
		first := New(sched.New)
		if err := errors.Join(first.Restore(st), first.AddService(config.Service{Key: config.Key{Mark: 7}, Scheduler: "wlc"})); err != nil {
			t.Fatal(err)
		}
		st.Commit(state.Change{Key: state.Key{Kind: state.Kind(kind), Number: number}, Value: []byte(text)})
		s := New(sched.New)
		if s.Restore(st) != nil {
			return
		}
		s.Services()
		if err := s.Flush(); err != nil {
			t.Error(err)
		}
	})
}
