package top

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"uvs/forwarder/config"
)

// director is one with as many services and servers as asked for, busier each time.
type director struct {
	services, servers int
	asked             int
	err               error
	after             []uint64 // of each query
}

func key(i int) config.Key {
	return config.Key{Proto: config.TCP, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 80}
}

func (d *director) Summary(_ context.Context, q config.SummaryQuery) (config.Summary, error) {
	if q.Servers > mostServers {
		return config.Summary{}, fmt.Errorf("%d servers are too many", q.Servers)
	}
	d.asked++
	d.after = append(d.after, q.After)
	s := config.Summary{Time: time.Date(2026, 1, 1, 10, 0, d.asked, 0, time.UTC), Uptime: 3_600_000 * 5, Totals: config.Stats{CPS: 12, InPPS: 38_100}}
	for i := range d.services {
		v := config.ServiceSummary{Service: key(i), Scheduler: "wlc", Active: 7, Eligible: 2, Stats: config.Stats{CPS: uint64(d.asked * 10)}, Jain: 0.9, MaxOverMean: 1.25}
		if q.Service == nil || *q.Service == key(i) {
			v.First = min(d.servers, q.First)
			for n := v.First; n < min(d.servers, v.First+q.Servers); n++ {
				v.Servers = append(v.Servers, config.ServerSummary{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)}), 80),
					Method: "masq", Weight: 1, Ideal: 0.5, Actual: 0.25, Active: 123456, Load: 640, State: config.ServerOK})
			}
		}
		v.Others = d.servers - len(v.Servers)
		s.Services = append(s.Services, v)
	}
	n := uint64(2 * d.asked)
	s.Decisions = []config.Decision{{Number: n - 1, Client: netip.MustParseAddrPort("172.16.0.9:51514"), Server: netip.MustParseAddrPort("192.168.0.1:80")},
		{Number: n, Client: netip.MustParseAddrPort("172.16.0.9:51515")}}
	return s, d.err
}

func (d *director) Counters(context.Context) (map[string]uint64, error) {
	n := uint64(d.asked)
	return map[string]uint64{"port-received": 1000 * n, "port-ring-drops": 5 * n, "drop-no-route": 7 * n, "drop-ttl": 1, "waiting": 3, "connections": 99}, nil
}

// page returns the page after so many looks and some keys.
func page(t *testing.T, d *director, width, height, looks int, keys ...string) string {
	t.Helper()
	m := newModel(t.Context(), d, time.Second)
	m.width, m.height = width, height
	look := func() { m.answered(m.look()()) }
	for range looks {
		look()
	}
	for _, k := range keys {
		m.press(k)
		look()
	}
	return m.text()
}

func TestThePageFitsItsTerminal(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {81, 25}, {120, 40}, {200, 60}, {40, 8}, {60, 12}} {
		for _, d := range []*director{{}, {services: 1}, {services: 1, servers: 2}, {services: 50, servers: 100}, {services: 3, servers: 1}} {
			for _, keys := range [][]string{nil, {"?"}, {"down", "down"}, {"pgdown", "pgdown", "j"}} {
				text := page(t, d, size[0], size[1], 2, keys...)
				lines := strings.Split(text, "\n")
				if len(lines) != size[1] {
					t.Errorf("%v %+v %v: %d lines\n%s", size, d, keys, len(lines), text)
				}
				for _, line := range lines {
					if utf8.RuneCountInString(line) > size[0] {
						t.Errorf("%v: %q is too long", size, line)
					}
				}
			}
		}
	}
}

func TestThePageShows(t *testing.T) {
	for _, tt := range []struct {
		what string
		d    *director
		keys []string
		want []string
	}{
		{"nothing to see", &director{}, nil, []string{"no services; add one: ipvsadm"}},
		{"a service without servers", &director{services: 1}, nil, []string{"> TCP 10.0.0.0:80 wlc", "no servers"}},
		{"rates, parts and figures", &director{services: 1, servers: 2}, nil, []string{
			"up 05:00:00  12 conn/s  in 38.1k pps", "act 7", "J 0.900  max/mean 1.25",
			"192.168.0.1:80", "50.0%  25.0%  123k     0     0    640 ok",
			"last:  172.16.0.9:51515 > no server  172.16.0.9:51514 > 192.168.0.1:80",
			"drops:  no-route 7/s", "rings: 1000 frames/s, 5/s lost, 3 waiting", "q quit", "30 conn/s ▅"}},
		{"the next service", &director{services: 3, servers: 1}, []string{"down"}, []string{"> TCP 10.0.0.1:80", "  TCP 10.0.0.0:80"}},
		{"around the end", &director{services: 3, servers: 1}, []string{"up"}, []string{"> TCP 10.0.0.2:80"}},
		{"servers further down", &director{services: 1, servers: 1000}, []string{"j", "j", "j"}, []string{"192.168.0.3:80", "more: j"}},
		{"servers far down", &director{services: 1, servers: 10_000}, presses("pgdown", 400), []string{"192.168.18.192:80", " 5185 more: j"}},
		{"the last servers", &director{services: 1, servers: 10_000}, append(presses("pgdown", 900), "k", "k"), []string{"192.168.39.13:80", "192.168.39.15:80"}},
		{"servers further up again", &director{services: 1, servers: 10_000}, append(presses("pgdown", 400), presses("pgup", 399)...), []string{"192.168.0.12:80", "more: j"}},
		{"another order", &director{services: 1}, []string{"s", "s"}, []string{"sort: rate"}},
		{"that it stands still", &director{services: 1}, []string{"p"}, []string{"PAUSED"}},
		{"what the words mean", &director{services: 1}, []string{"?"}, []string{"Jain's index"}},
		{"why it cannot go on", &director{services: 1, err: errors.New("no director")}, nil, []string{"! no director"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			got := page(t, tt.d, 80, 24, 3, tt.keys...)
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in\n%s", want, got)
				}
			}
		})
	}
}

func presses(key string, n int) []string { return slices.Repeat([]string{key}, n) }

// TestDropsAreCountedOnceWhilePaused looks again and again, while the page stands still.
func TestDropsAreCountedOnceWhilePaused(t *testing.T) {
	d := &director{services: 1}
	m := newModel(t.Context(), d, time.Second)
	for i := range 20 {
		if i == 5 || i == 15 {
			m.press("p")
		}
		m.answered(m.look()())
	}
	if got := m.dropped["drop-no-route"]; got != 7*19 {
		t.Errorf("%v dropped since the page was opened, want %d", got, 7*19)
	}
	if want := []uint64{0, 2, 4, 6}; !slices.Equal(d.after[:4], want) || d.after[19] != 38 {
		t.Errorf("asked for decisions after %v", d.after)
	}
}

func TestNumbersTakeSixColumns(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 9999: "9999", 10_000: "10.0k", 99_949: "99.9k", 99_951: "100k", 12_345_678: "12.3M", 1e18: "1000000T"} {
		if got := number(v); got != want {
			t.Errorf("%g: %s, want %s", v, got, want)
		}
	}
}

func TestLinesOfJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		if err := Lines(t.Context(), &b, &director{services: 1, servers: 1}, config.SummaryQuery{Servers: 9}, time.Second, 3); err != nil {
			t.Fatal(err)
		}
		var all []Moment
		for d := json.NewDecoder(&b); ; {
			var m Moment
			if err := d.Decode(&m); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		if len(all) != 3 || all[0].Received != 0 || all[2].Received != 1000 || all[2].Drops["drop-no-route"] != 7 || len(all[1].Services) != 1 {
			t.Errorf("%+v", all)
		}
	})
}

// TestThePageInATerminal runs the whole program in a terminal of 80 columns that is
// resized, and quits.
func TestThePageInATerminal(t *testing.T) {
	term, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	defer tty.Close()
	if err := pty.Setsize(term, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	shown := make(chan string, 1000)
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := term.Read(b)
			if err != nil {
				close(shown)
				return
			}
			shown <- string(b[:n])
		}
	}()
	ended := make(chan error, 1)
	go func() {
		ended <- Page(t.Context(), &director{services: 2, servers: 3}, 50*time.Millisecond, tty, tty)
	}()
	all := ""
	await := func(text string) {
		for patience := time.After(20 * time.Second); !strings.Contains(all, text); {
			select {
			case more := <-shown:
				all += more
			case <-patience:
				t.Fatalf("no %q in %q", text, all)
			}
		}
	}
	await("192.168.0.2:80")
	fmt.Fprint(term, "?")
	await("Jain's index")
	fmt.Fprint(term, "q")
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("q does not quit")
	}
}

func TestKeysByWhatATerminalSends(t *testing.T) {
	for sent, want := range map[string][]string{
		"q": {"q"}, "\x1b": {"esc"}, "\x1b[A\x1b[B": {"up", "down"}, "\x1bOA": {"up"}, "\x1b[5~jk": {"pgup", "j", "k"}, "\x03": {"ctrl+c"},
		"\t ": {"tab", "space"}, "\x1b[1;5A": {"\x1b[1;5A"}, "\x1b[": {"\x1b["},
	} {
		if got := keysOf(sent); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", sent, got, want)
		}
	}
}
