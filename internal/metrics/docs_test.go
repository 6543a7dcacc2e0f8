package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"

	"uvs/forwarder/config"
	"uvs/sched"
)

// all returns every metric that a director can have.
func all(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	b := start(t, "")
	b.serve(1)
	b.ask("10.2.0.1:80", 1)
	b.m.Forwarded(sched.Masq, time.Microsecond)
	b.m.Of(&Source{Forwarder: b.fw, Events: b.ring, Rules: func() (time.Time, string) { return time.Now(), "hash" }})
	slog.New(b.ring.Handler(slog.DiscardHandler)).Info("x", "event", "something")
	list, done, err := b.m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	found := map[string]*dto.MetricFamily{}
	for _, f := range list {
		found[f.GetName()] = f
	}
	if found["uvs_pool_ports"] == nil { // needs a connection by FULLNAT
		f := newFamilies().gauge("uvs_pool_ports", "")
		f.add(1, label("local", "10.1.0.9"), label("state", "used"))
		found["uvs_pool_ports"] = f.MetricFamily
	}
	checks := newFamilies()
	result := config.ProbeResult{OK: true, Probes: 1}
	result.Times.Add(time.Millisecond)
	checks.checks([]config.CheckState{{Check: config.Check{Kind: config.CheckTCP}, VIP: result, Own: result}})
	maps.Copy(found, checks.all)
	return found
}

func TestEachMetricHasItsRow(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	families := all(t)
	rows := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		name := row[1]
		rows[name] = true
		f := families[name]
		if f == nil {
			t.Errorf("docs/metrics.md has %s, which is not exported", name)
			continue
		}
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		want := regexp.MustCompile("[a-z]+").FindAllString(row[3], -1)
		slices.Sort(labels)
		slices.Sort(want)
		if kind := strings.ToLower(f.GetType().String()); kind != row[2] || !slices.Equal(labels, want) {
			t.Errorf("docs/metrics.md has %s as a %s with %q; it is a %s with %q", name, row[2], want, kind, labels)
		}
	}
	for name := range families {
		if strings.HasPrefix(name, "uvs_") && !rows[name] {
			t.Errorf("docs/metrics.md has no row for %s", name)
		}
	}
}

// expressions returns the PromQL of the dashboard and of the alert rules by where it is.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	var board struct {
		Inputs     []struct{ Name string } `json:"__inputs"`
		Schema     int                     `json:"schemaVersion"`
		Templating struct {
			List []struct{ Name, Query string }
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile("../../docs/monitoring/dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil || len(board.Inputs) != 1 || board.Inputs[0].Name != "DS_PROMETHEUS" || board.Schema < 36 {
		t.Fatalf("the dashboard: %v, inputs %v, schema %d", err, board.Inputs, board.Schema)
	}
	for _, v := range board.Templating.List {
		found["variable "+v.Name] = v.Query
	}
	for _, p := range board.Panels {
		for i, target := range p.Targets {
			found[fmt.Sprint("panel ", p.Title, " ", i)] = target.Expr
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if text, err = os.ReadFile("../../docs/monitoring/alerts.yml"); err == nil {
		err = yaml.Unmarshal(text, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			found["alert "+r.Alert] = r.Expr
		}
	}
	if len(found) < 40 {
		t.Fatalf("only %d expressions found", len(found))
	}
	return found
}

func TestEachMetricOfTheDashboardAndTheAlertsExists(t *testing.T) {
	families := all(t)
	metric := regexp.MustCompile(`\b(uvs|process|go)_[a-z_]+`)
	label := regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
	for where, expr := range expressions(t) {
		names := metric.FindAllString(expr, -1)
		if len(names) == 0 && !strings.HasPrefix(expr, "up{") {
			t.Errorf("%s has no metric: %s", where, expr)
		}
		known := []string{"job", "instance", "le"}
		for _, name := range names {
			f := families[name]
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				if base, ok := strings.CutSuffix(name, suffix); ok && f == nil && families[base].GetType() == dto.MetricType_HISTOGRAM {
					f = families[base]
				}
			}
			if f == nil {
				t.Errorf("%s has %s, which no director exports", where, name)
				continue
			}
			for _, l := range f.Metric[0].Label {
				known = append(known, l.GetName())
			}
		}
		for _, l := range label.FindAllStringSubmatch(expr, -1) {
			if !slices.Contains(known, l[1]) {
				t.Errorf("%s asks for the label %s, which its metrics do not have", where, l[1])
			}
		}
	}
}

// promtool runs Prometheus's own check.
func promtool(t *testing.T, stdin []byte, arguments ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("UVS_REQUIRE_NETNS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(path, arguments...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("no help text")) {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

func TestPromtoolHasNothingToSay(t *testing.T) {
	b := start(t, "")
	b.serve(2)
	b.ask("10.2.0.1:80", 5)
	promtool(t, b.text(), "check", "metrics")
	promtool(t, nil, "check", "rules", "../../docs/monitoring/alerts.yml")

	// The dashboard's expressions as rules, which promtool parses.
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	values := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*", "$service", ".*")
	n := 0
	for where, expr := range expressions(t) {
		if strings.HasPrefix(where, "panel ") {
			fmt.Fprintf(&rules, "  - record: panel%d\n    expr: %q\n", n, values.Replace(expr))
			n++
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, nil, "check", "rules", file)
}
