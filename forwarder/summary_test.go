package forwarder

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/service"
)

func TestASummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, `-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m -w 1
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 1
-a -t 10.2.0.1:80 -r 10.1.0.3:8080 -m -w 0
-A -t 10.2.0.2:80 -s wlc
-a -t 10.2.0.2:80 -r 10.1.0.1:80 -m -w 3 -x 1`)
		summary := func(q config.SummaryQuery) string { return summaryText(b.fw.Summary(q)) }
		all := config.SummaryQuery{Services: 9, Servers: 9, Decisions: true}
		if first := b.fw.Summary(all); len(first.Decisions) != 0 {
			t.Errorf("%+v", first.Decisions)
		}
		for i := range 4 {
			b.open(fmt.Sprintf("172.16.0.9:%d", 3000+i), "10.2.0.1:80")
		}
		b.open("172.16.0.9:4000", "10.2.0.2:80")
		b.open("172.16.0.9:4001", "10.2.0.2:80")
		b.fw.Tick(time.Now().Add(service.EstimatorStep))
		got := summary(all)
		want := `tcp:10.2.0.1:80 rr 2 eligible
 10.1.0.1:8080 Masq 1 0.50 0.50 ok
 10.1.0.2:8080 Masq 1 0.50 0.50 ok
 10.1.0.3:8080 Masq 0 0.00 0.00 quiesced
tcp:10.2.0.2:80 wlc 0 eligible
 10.1.0.1:80 Masq 3 0.00 1.00 overloaded
172.16.0.9:3000 > 10.1.0.2:8080
172.16.0.9:3001 > 10.1.0.1:8080
172.16.0.9:3002 > 10.1.0.2:8080
172.16.0.9:3003 > 10.1.0.1:8080
172.16.0.9:4000 > 10.1.0.1:80
172.16.0.9:4001 > none
0 more
`
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		k := b.fw.Services()[1].Key
		got = summary(config.SummaryQuery{Service: &k, Servers: 1})
		if !strings.HasPrefix(got, k.Name()) || !strings.HasSuffix(got, "1 more\n") || strings.Count(got, "\n ") != 1 {
			t.Errorf("of one service:\n%s", got)
		}
		k = b.fw.Services()[0].Key
		got = summary(config.SummaryQuery{Service: &k, First: 2, Servers: 2})
		if !strings.Contains(got, "\n 10.1.0.3:8080 ") || strings.Count(got, "\n ") != 1 {
			t.Errorf("of one service, from the third server on:\n%s", got)
		}
		if b.fw.arrivals.active.Load() == nil {
			t.Error("decisions are not watched")
		}
		time.Sleep(decidedFor + time.Second)
		synctest.Wait()
		if b.fw.arrivals.active.Load() != nil {
			t.Error("decisions are still watched, though nobody asks")
		}
	})
}

// TestEachReaderOfSummariesGetsTheDecisionsThatItHasNot asks as several readers do: `uvs top`
// twice, a script, and a user who may not see decisions.
func TestEachReaderOfSummariesGetsTheDecisionsThatItHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m")
		b.fw.Summary(config.SummaryQuery{})
		if b.fw.arrivals.watched() {
			t.Error("a query without decisions has them watched")
		}
		opened := 0
		for _, step := range []struct {
			what        string
			open        int
			after       uint64
			first, last uint64 // 0: none
		}{
			{"nothing has come", 0, 0, 0, 0},
			{"the first reader", 3, 0, 1, 3},
			{"the second gets the same", 0, 0, 1, 3},
			{"a later one only the rest", 0, 2, 3, 3},
			{"and nothing twice", 0, 3, 0, 0},
			{"what came since", 2, 3, 4, 5},
			{"the last 64 are kept", 62, 0, 4, 67},
			{"a number of another director", 0, 1000, 4, 67},
		} {
			for range step.open {
				b.open(fmt.Sprintf("172.16.0.9:%d", 3000+opened), "10.2.0.1:80")
				opened++
			}
			all := b.fw.Summary(config.SummaryQuery{After: step.after, Decisions: true}).Decisions
			var first, last uint64
			if len(all) > 0 {
				first, last = all[0].Number, all[len(all)-1].Number
			}
			if first != step.first || last != step.last || first > 0 && len(all) != int(last-first+1) {
				t.Errorf("%s: %d to %d, %d in all; want %d to %d", step.what, first, last, len(all), step.first, step.last)
			}
		}
	})
}

// TestAQuestionJustBeforeTheEndOfTheWatchKeepsIt has the time run out while a reader asks.
func TestAQuestionJustBeforeTheEndOfTheWatchKeepsIt(t *testing.T) {
	b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr")
	b.fw.Summary(config.SummaryQuery{Decisions: true})
	b.fw.decided.stop(b.fw)
	if !b.fw.arrivals.watched() {
		t.Error("decisions are not watched, though somebody has just asked")
	}
}

func summaryText(s config.Summary) string {
	var b strings.Builder
	for _, v := range s.Services {
		fmt.Fprintf(&b, "%s %s %d eligible\n", v.Service.Name(), v.Scheduler, v.Eligible)
		for _, r := range v.Servers {
			fmt.Fprintf(&b, " %v %s %d %.2f %.2f %s\n", r.Address, r.Method, r.Weight, r.Ideal, r.Actual, r.State)
		}
	}
	for _, d := range s.Decisions {
		server := "none"
		if d.Server.IsValid() {
			server = d.Server.String()
		}
		fmt.Fprintf(&b, "%v > %s\n", d.Client, server)
	}
	fmt.Fprintf(&b, "%d more\n", s.Others)
	return b.String()
}

// BenchmarkSummary is what `uvs top` costs the director a second, with 10,000 servers.
func BenchmarkSummary(b *testing.B) {
	bed := newTestbed(b, "-A -t 10.2.0.1:80 -s rr")
	var lines strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&lines, "-a -t 10.2.0.1:80 -r 10.1.%d.%d:80 -m\n", i>>8, i&255)
	}
	bed.apply(lines.String())
	for b.Loop() {
		bed.fw.Summary(config.SummaryQuery{Services: 100, Servers: 50, Sort: "load"})
	}
}
