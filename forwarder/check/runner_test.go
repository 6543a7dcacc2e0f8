package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/service"
	"uvs/sched"
)

// scene is a table with one service and some servers, whose answers a test gives.
type scene struct {
	loopback
	t     *testing.T
	table *service.Table
	run   *Runner
	key   config.Key
	log   bytes.Buffer

	holds   int    // calls of Hold
	holding func() // called by each
}

func (s *scene) Hold(k config.Key, held map[netip.AddrPort]bool) ([]config.Server, error) {
	s.holds++
	if s.holding != nil {
		s.holding()
	}
	return s.table.Hold(k, held)
}

func newScene(t *testing.T, servers int, c config.Check) *scene {
	s := &scene{t: t, table: service.New(sched.New), key: config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80}.Normal()}
	s.run = New(s.table, s, slog.New(slog.NewTextHandler(&s.log, nil)))
	s.must(s.table.AddService(config.Service{Key: s.key, Scheduler: "rr"}))
	for i := range servers {
		s.must(s.table.AddServer(s.key, config.Server{Addr: address(i).Addr(), Port: 80, Method: sched.Masq, Weight: 1}))
	}
	s.must(s.table.AddCheck(s.key, c))
	s.follow()
	return s
}

func address(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("10.1.0.%d:80", i+1)) }

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// follow follows the table as Run does, without asking.
func (s *scene) follow() {
	g := s.run.groups[s.key]
	if g == nil {
		g = &group{runner: s.run, key: s.key, probers: map[proberKey]*prober{}}
		s.run.groups[s.key] = g
	}
	g.follow(s.table.Load().Service(s.key))
	g.changed()
}

// answer gives a server's next answer.
func (s *scene) answer(server int, ok bool) {
	for _, p := range s.run.groups[s.key].order {
		if p.probe.Server.AddrPort() == address(server) && p.learn(&Answer{VIP: config.ProbeResult{OK: ok}, Own: config.ProbeResult{OK: true}}) {
			s.run.groups[s.key].changed()
		}
	}
}

// words are the states of all servers: u, d or ? and, for a held one, h or, if it would be
// held, l.
func (s *scene) words() string {
	var all []string
	for _, st := range s.run.States() {
		w := map[string]string{up: "u", down: "d", unknown: "?"}[st.State]
		if st.Held {
			w += "h"
		}
		if st.Limited {
			w += "l"
		}
		all = append(all, w)
	}
	return strings.Join(all, " ")
}

func TestRiseAndFall(t *testing.T) {
	for _, c := range []struct{ name, answers, want string }{
		{"the first good answer counts at once", "+", "u"},
		{"bad ones do not", "--", "??"},
		{"three in a row do", "---", "??d"},
		{"a good one between them begins anew", "+--+---", "uuuuuud"},
		{"two good ones in a row are needed after that", "---+-++", "??ddddu"},
	} {
		s := newScene(t, 1, config.Check{Kind: config.CheckTCP})
		got := ""
		for _, a := range c.answers {
			s.answer(0, a == '+')
			got += s.words()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestHoldsWithinTheirShare(t *testing.T) {
	s := newScene(t, 4, config.Check{Kind: config.CheckTCP, Act: config.ActHold, AtMost: 50, Rise: 1, Fall: 1})
	for _, step := range []struct {
		because string
		do      func()
		want    string
	}{
		{"all answer", func() {
			for i := range 4 {
				s.answer(i, true)
			}
		}, "u u u u"},
		{"one does not", func() { s.answer(1, false) }, "u dh u u"},
		{"two do not", func() { s.answer(0, false) }, "dh dh u u"},
		{"a third is beyond the share", func() { s.answer(3, false) }, "dh dh u dl"},
		{"it is held when another answers", func() { s.answer(1, true) }, "dh u u dh"},
		{"a server of weight 0 is not held, and does not count", func() {
			s.must(s.table.EditServer(s.key, config.Server{Addr: address(0).Addr(), Port: 80, Method: sched.Masq}))
			s.follow()
		}, "d u u dh"},
		{"nor does the share of three allow two", func() { s.answer(2, false) }, "d u dl dh"},
		{"a server is removed", func() {
			s.must(s.table.DeleteServer(s.key, address(3)))
			s.follow()
		}, "d u dh"},
		{"the check is", func() {
			s.must(s.table.DeleteCheck(s.key, nil))
			s.follow()
		}, ""},
	} {
		step.do()
		if got := s.words(); got != step.want {
			t.Errorf("%s: %s, want %s", step.because, got, step.want)
		}
	}
	for event, n := range map[string]int{"server-down": 4, "server-up": 1, "server-held": 4, "server-released": 2, "server-hold-limited": 2} {
		if got := strings.Count(s.log.String(), "event="+event); got != n {
			t.Errorf("%d events %s, want %d:\n%s", got, event, n, s.log.String())
		}
	}
}

// What changes while holds are decided is decided together after that, in one change of
// the table.
func TestManyChangesAreDecidedAtOnce(t *testing.T) {
	const servers = 100
	s := newScene(t, servers, config.Check{Kind: config.CheckTCP, Act: config.ActHold, AtMost: 100, Rise: 1, Fall: 1})
	s.holds = 0
	s.holding = func() {
		s.holding = nil
		for i := range servers - 1 {
			s.answer(i+1, false)
		}
	}
	s.answer(0, false)
	if got := s.words(); got != strings.Repeat("dh ", servers-1)+"dh" {
		t.Error(got)
	}
	if s.holds != 2 {
		t.Errorf("%d decisions, want 2", s.holds)
	}
	if n := strings.Count(s.log.String(), "event=server-held"); n != servers {
		t.Errorf("%d events server-held", n)
	}
}

// TestAPassiveCheck goes by the counters of clients' connections. Each step is an interval:
// new connections, and how many of them were reset.
func TestAPassiveCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps [][2]uint64
		want  string
	}{
		{"no connections show nothing", [][2]uint64{{}, {}, {}}, "???"},
		{"nor do refusals without a connection", [][2]uint64{{0, 9}, {0, 9}, {0, 9}}, "???"},
		{"nor do four connections", [][2]uint64{{2, 2}, {}, {2, 2}, {}}, "????"},
		{"few are put together until they are five", [][2]uint64{{2, 2}, {2, 2}, {1, 1}, {5, 5}}, "???d"},
		{"few good ones, too", [][2]uint64{{2, 0}, {2, 0}, {2, 0}, {2, 0}}, "???u"},
		{"good ones", [][2]uint64{{5, 0}, {5, 0}, {5, 0}}, "?uu"},
		{"few that fail are not bad", [][2]uint64{{10, 1}, {10, 1}, {10, 1}}, "???"},
		{"two bad intervals", [][2]uint64{{5, 5}, {5, 5}}, "?d"},
		{"one interval without connections between them", [][2]uint64{{5, 5}, {}, {}, {5, 5}}, "???d"},
		{"tried again after two, and down after one more that is bad", [][2]uint64{{5, 5}, {5, 5}, {}, {}, {5, 5}}, "?dd?d"},
		{"then only after four", [][2]uint64{{5, 5}, {5, 5}, {}, {}, {5, 5}, {}, {}, {}, {}}, "?dd?dddd?"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, 1, config.Check{Kind: config.CheckPassive, Interval: 1000, Rise: 2, Fall: 2})
			p := s.run.groups[s.key].order[0]
			probe := p.wanted()
			p.look(&probe)
			got := ""
			for _, step := range c.steps {
				time.Sleep(time.Second)
				server := s.table.Load().Service(s.key).Servers[0]
				server.Add(service.Traffic{Conns: step[0]})
				for range step[1] {
					server.Refusals.Reset()
				}
				p.look(&probe)
				got += s.words()
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		})
	}
}

// Asking once does not wait for repeated checks of servers that do not answer.
func TestAskingOnceHasSlotsOfItsOwn(t *testing.T) {
	at := listen(t, func(net.Conn) {})
	table := service.New(sched.New)
	key := config.Key{Proto: config.TCP, Addr: at.Addr(), Port: at.Port()}.Normal()
	if err := errors.Join(table.AddService(config.Service{Key: key, Scheduler: "rr"}),
		table.AddServer(key, config.Server{Addr: at.Addr(), Port: at.Port(), Method: sched.Masq, Weight: 1})); err != nil {
		t.Fatal(err)
	}
	r := New(table, loopback{}, slog.New(slog.DiscardHandler))
	for range atOnce {
		r.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	all, err := r.Now(ctx, &key, nil)
	if err != nil || len(all) != 1 || all[0].State != up {
		t.Errorf("%+v, %v", all, err)
	}
}
