package metrics

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"uvs/forwarder/neigh"
)

var quiet = slog.New(slog.DiscardHandler)

func TestTheFramesReceivedAreTheSumOfWhatBecameOfThem(t *testing.T) {
	b := start(t, "")
	b.serve(2)
	b.ask("10.2.0.1:80", 10)
	b.ask("10.2.0.1:81", 3) // nothing is served there
	b.ask("172.16.9.9:53", 4)
	s := b.scrape()
	received := s.sum("uvs_port_frames_total", `direction="in"`)
	if ended := s.sum("uvs_frames_total"); received != 17 || ended != 17 || s.sum("uvs_frames_waiting") != 0 {
		t.Errorf("%g received, %g ended, %g wait", received, ended, s.sum("uvs_frames_waiting"))
	}
	for series, want := range map[string]float64{
		`uvs_frames_total{port="clients/0",verdict="forwarded"}`:                                                      10,
		`uvs_worker_frames_total{worker="clients/0"}`:                                                                 17,
		`uvs_service_connections_total{service="UDP 10.2.0.1:80"}`:                                                    10,
		`uvs_server_connections_total{server="10.1.0.1:8080",service="UDP 10.2.0.1:80"}`:                              5,
		`uvs_server_packets_total{direction="in",server="10.1.0.2:8080",service="UDP 10.2.0.1:80"}`:                   5,
		`uvs_server_bytes_total{direction="in",server="10.1.0.2:8080",service="UDP 10.2.0.1:80"}`:                     5 * 48,
		`uvs_server_connections{server="10.1.0.1:8080",service="UDP 10.2.0.1:80",state="inactive"}`:                   5,
		`uvs_server_up{server="10.1.0.1:8080",service="UDP 10.2.0.1:80"}`:                                             1,
		`uvs_connections{proto="UDP",state="UDP"}`:                                                                    10,
		`uvs_connections{proto="TCP",state="ESTABLISHED"}`:                                                            0,
		`uvs_connections_created_total{}`:                                                                             10,
		`uvs_connections_limit{}`:                                                                                     1 << 12,
		`uvs_build_info{goversion="` + runtime.Version() + `",revision="` + revision() + `",version="test"}`:          1,
		`uvs_service_info{address="10.2.0.1",mark="",port="80",proto="UDP",scheduler="rr",service="UDP 10.2.0.1:80"}`: 1,
		`uvs_service_info{address="",mark="7",port="",proto="FWM",scheduler="wlc",service="FWM 7 IPv6"}`:              1,
	} {
		if got, ok := s[series]; got != want || !ok {
			t.Errorf("%s is %g, %t, want %g", series, got, ok, want)
		}
	}
	if n := s.sum("uvs_drops_total"); n != s.sum("uvs_frames_total", `verdict="dropped"`) {
		t.Errorf("%g drops by reason", n)
	}
	if n := s.sum("uvs_port_batch_frames"); n == 0 {
		t.Error("no batch is counted")
	}
	if s["process_start_time_seconds{}"] == 0 || s["go_goroutines{}"] == 0 {
		t.Error("the figures of the process or of Go are missing")
	}
}

// documented returns the counters of docs/metrics.md, true for those that begin at 0 with
// each process.
func documented(t *testing.T) (ofProcess map[string]bool) {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	ofProcess = map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| counter \\|(.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		ofProcess[row[1]] = strings.HasSuffix(row[2], "(process)")
	}
	return ofProcess
}

// counters are the series that may not go back, and those that a new process continues.
func (b *bed) counters(t *testing.T) (all, kept scraped) {
	all, kept = scraped{}, scraped{}
	ofProcess := documented(t)
	for series, v := range b.scrape() {
		name, _, _ := strings.Cut(series, "{")
		if !strings.HasPrefix(name, "uvs_") || !strings.HasSuffix(name, "_total") {
			continue
		}
		all[series] = v
		if !ofProcess[name] {
			kept[series] = v
		}
	}
	return all, kept
}

func (b *bed) notBack(when string, before, now scraped) {
	b.t.Helper()
	for series, v := range before {
		if got, ok := now[series]; got < v || !ok {
			b.t.Errorf("%s %s went from %g to %g (%t)", when, series, v, got, ok)
		}
	}
}

func TestNoCounterGoesBack(t *testing.T) {
	dir := t.TempDir() + "/state"
	b := start(t, dir)
	b.serve(2)
	b.ask("10.2.0.1:80", 10)
	b.ask("10.2.0.1:81", 3)
	slog.New(b.ring.Handler(slog.DiscardHandler)).Info("x", "event", "something")
	before, _ := b.counters(t)
	if before[`uvs_port_ring_drops_total{port="clients/0"}`] != 13 {
		t.Errorf("ring drops of %g frames", before[`uvs_port_ring_drops_total{port="clients/0"}`])
	}

	if err := b.fw.Zero(nil); err != nil {
		t.Fatal(err)
	}
	now, _ := b.counters(t)
	b.notBack("when the listings were zeroed,", before, now)

	for _, links := range [][]neigh.Link{{servers}, {clients, servers}} {
		before = now
		b.net.set(links...)
		now, _ = b.counters(t)
		b.notBack("when an interface came or went,", before, now)
	}
	b.ask("10.2.0.1:80", 5)
	now, _ = b.counters(t)
	b.notBack("when it worked again,", before, now)
	if got := now[`uvs_frames_total{port="clients/0",verdict="forwarded"}`]; got != 15 {
		t.Errorf("%g frames forwarded by an interface that was opened anew, want 15", got)
	}
	if got := now[`uvs_port_ring_drops_total{port="clients/0"}`]; got != 18 {
		t.Errorf("%g ring drops of it, want 18", got)
	}

	_, kept := b.counters(t)
	b.end()
	next := start(t, dir)
	now, _ = next.counters(t)
	next.notBack("when the director was started again,", kept, now)
	next.ask("10.2.0.1:80", 2)
	if got := next.scrape()[`uvs_frames_total{port="clients/0",verdict="forwarded"}`]; got != 17 {
		t.Errorf("then %g frames forwarded, want 17", got)
	}
}

// TestEachCounterThatIsNotOfTheProcessIsContinued has everything counted that can be, and
// starts a second director with the same state. A counter that the state does not have is 0
// at the end of the first.
func TestEachCounterThatIsNotOfTheProcessIsContinued(t *testing.T) {
	dir := t.TempDir() + "/state"
	b := start(t, dir)
	b.serve(2)
	b.ask("10.2.0.1:80", 10)
	b.ask("10.2.0.1:81", 3)
	for name := range b.kept.Counters() {
		account, isLedger := strings.CutSuffix(name, "/received")
		switch {
		case isLedger: // a frame for which no local port was free
			b.kept.Counter(account + "/drop-no-local-port").Add(1)
			b.kept.Counter(name).Add(1)
		case !strings.Contains(name, "/"):
			b.kept.Counter(name).Add(7)
		}
	}
	_, kept := b.counters(t)
	for name, ofProcess := range documented(t) {
		if !ofProcess && kept.sum(name) == 0 {
			t.Errorf("%s is not marked (process) in docs/metrics.md, but the state does not keep it", name)
		}
	}
	b.end()
	next := start(t, dir)
	_, now := next.counters(t)
	next.notBack("when the director was started again,", kept, now)
}

func TestAScrapeThatIsNotReadHoldsUpNoPacket(t *testing.T) {
	b := start(t, "")
	b.serve(100)
	_, done, err := b.m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	b.ask("10.2.0.1:80", 50)
	done()
	if n := b.scrape().sum("uvs_service_connections_total"); n != 50 {
		t.Errorf("%g connections, want 50", n)
	}
}

func TestNamesAndHelpAreAsPrometheusWantsThem(t *testing.T) {
	b := start(t, "")
	b.serve(1)
	b.ask("10.2.0.1:80", 1)
	problems, err := promlint.New(bytes.NewReader(b.text())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A scrape of 10,000 servers: 110,000 series.
func BenchmarkScrapeOf10000Servers(b *testing.B) {
	bed := start(b, "")
	bed.serve(10_000)
	h := NewServer(bed.m, nil, func(f func()) bool { f(); return true }, quiet).http.Handler
	for b.Loop() {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		b.SetBytes(int64(answer.Body.Len()))
	}
}
