package bench

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fixedReport is a report of a run that never was: quick, tcp and search with
// two targets, an INVALID one, an A/A run and names that want escaping.
func fixedReport() *Report {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	null, nat, dr := load.Target{Method: load.Null}, load.Target{Method: load.NAT, Scheduler: "wlc"}, load.Target{Method: load.DR, Workers: 2}
	again := null
	again.Again = true
	targets := []load.Target{null, nat, dr, again}
	r := &Report{Run: report.Run{Schema: report.Schema, Kind: "full", Partial: "interrupted", Noise: load.Noise{Grade: "D", Clock: "tsc", CPUs: 2, Work: 1.5},
		Meta: report.Meta{Start: start, End: start.Add(90 * time.Second), Command: []string{"bench", "full", "<&\">"}, Go: "go1.26", Kernel: "6.1", CPU: "A CPU", CPUs: 2}}}
	for _, m := range []string{"quick", "tcp", "search"} {
		r.Parts = append(r.Parts, report.Setting{Measure: m, Targets: targets, Rounds: 6, Warm: "100ms", Window: "500ms", Servers: 1, InsideMTU: 1600})
	}
	offer := load.Load{Size: 64, Flows: 1000}
	for round := range 6 {
		for i, t := range targets {
			wobble := 1 + 0.01*float64((round*3+i)%5)
			trial := load.Trial{Measure: "quick", Target: t.String(), Load: offer, Round: round, Window: time.Second, Intended: 1e6, Sent: 1e6,
				Received: 990_000, Arrived: uint64(800_000 / wobble), CPU: time.Duration(8e8 * wobble * (1 + 0.2*float64(i%3)))}
			if i == 2 && round == 3 {
				trial.Faults = []string{"UDP checksum is wrong"}
			}
			r.Trials = append(r.Trials, trial)
			for _, k := range load.Kinds {
				r.TCP = append(r.TCP, load.TCPTrial{Target: t.String(), Kind: k, Conns: 4, Round: round, Window: time.Second, Done: uint64(1e4 * wobble),
					Bytes: uint64(1e9 * wobble), CPU: time.Duration(4e8 * wobble), P50: 100 * wobble, P99: 900})
			}
		}
	}
	for i, t := range targets[:2] {
		f := SearchResult{Target: t.String(), Load: offer, Goal: Goals(time.Second, 5)[0], Rate: 4e5, Upper: 4.1e5, Throughput: 3.99e5, MRR: 5e5, Ceiling: 4.5e5, Limited: true}
		for _, share := range latencyShares {
			p := load.Points{Share: share, Rate: share * 4e5, Samples: 1e5, P50: 50, P90: 100, P99: 500 * float64(i+1), Max: 4000}
			f.Latency = append(f.Latency, p)
		}
		r.Found = append(r.Found, f)
		for _, rate := range []float64{2e5, 3e5, 4e5, 4.1e5} {
			at := offer
			at.Rate = rate
			r.Trials = append(r.Trials, load.Trial{Measure: "search", Target: t.String(), Load: at, Window: time.Second, Intended: 1000, Sent: 1000, Received: uint64(1002 - rate/1e5)})
		}
	}
	r.Gates = []load.Trial{{Target: "null", Sent: 6000, Received: 6000, Checked: 6000}}
	r.Note("ipvs: not here <script>")
	r.summarize()
	return r
}

func fixedPage(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := fixedReport().HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHTMLOfAFixedReportIsTheGoldenFile(t *testing.T) {
	golden(t, "report.html", fixedPage(t))
}

func TestTableOfAFixedReportIsTheGoldenFile(t *testing.T) {
	var b bytes.Buffer
	if err := fixedReport().Print(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs; go test ./bench -update writes it anew\n%s", path, diff)
	}
}

func TestPageIsWellFormedAndNeedsNothingElse(t *testing.T) {
	text := fixedPage(t)
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("<!DOCTYPE html>"))))
	d.Strict = true
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "src", "href", "srcset", "data", "action", "xmlns":
				t.Errorf("<%s %s=%q> refers to something else", e.Name.Local, a.Name.Local, a.Value)
			}
		}
		if n := e.Name.Local; n == "script" || n == "link" || n == "iframe" || n == "img" {
			t.Errorf("<%s> in the page", n)
		}
	}
	if m := regexp.MustCompile(`https?:|url\(|@import|//[a-z]`).Find(text); m != nil {
		t.Errorf("page refers to %q", m)
	}
}

func TestComparisonIsAPageToo(t *testing.T) {
	old, fresh := fixedReport(), fixedReport()
	for i := range fresh.Trials {
		fresh.Trials[i].CPU *= 2
	}
	fresh.summarize()
	var b bytes.Buffer
	if err := report.CompareHTML(&b, &old.Run, &fresh.Run, report.Compare(old.Results(), fresh.Results())); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"uvs bench compare", "▼ slower", "old: 2026-01-02", "<svg"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestPageSaysTheWorstFirst(t *testing.T) {
	text := string(fixedPage(t))
	at := -1
	for _, want := range []string{"partial: the run was interrupted", "Noise grade D", "UDP checksum is wrong", "TG-LIMITED", "ipvs: not here &lt;script&gt;", "<h2>Verdicts</h2>", "<h2>Raw trials</h2>"} {
		i := strings.Index(text, want)
		if i <= at {
			t.Errorf("%q is at %d, want it after %d", want, i, at)
		}
		at = i
	}
	for _, want := range []string{"✗ INVALID", "▼ slower"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
}
