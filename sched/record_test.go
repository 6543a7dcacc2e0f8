package sched_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/sched"
)

// account writes a record in lines: the rule, then each candidate.
func account(r *sched.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Scheduler, r.Rule)
	for _, c := range r.Candidates {
		mark := " "
		switch {
		case c.Server == r.Chosen:
			mark = "*"
		case c.Tie:
			mark = "="
		}
		fmt.Fprintf(&b, "%s %s", mark, c.Addr)
		for _, text := range []string{c.Figure, c.Skip} {
			if text != "" {
				fmt.Fprintf(&b, ", %s", text)
			}
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

func TestARecordTellsThePickWithItsArithmetic(t *testing.T) {
	for _, c := range []struct {
		name   string
		flags  sched.Flags
		picks  int // made before
		client int
		want   string
	}{
		{name: "wlc", want: `
wlc: least (active·256+inactive)/weight
  10.1.0.5:80, (0·256+0)/0, weight 0
  10.1.0.4:80, (0·256+1)/1 = 1.000, overloaded
  10.1.0.3:80, (2·256+1)/3 = 171.000
* 10.1.0.2:80, (1·256+0)/2 = 128.000
= 10.1.0.1:80, (1·256+0)/2 = 128.000
`},
		{name: "lc", want: `
lc: least active·256+inactive
  10.1.0.5:80, 0·256+0 = 0, weight 0
  10.1.0.4:80, 0·256+1 = 1, overloaded
  10.1.0.3:80, 2·256+1 = 513
* 10.1.0.2:80, 1·256+0 = 256
= 10.1.0.1:80, 1·256+0 = 256
`},
		{name: "sed", want: `
sed: least (active+1)/weight
  10.1.0.5:80, (0+1)/0, weight 0
  10.1.0.4:80, (0+1)/1 = 1.000, overloaded
* 10.1.0.3:80, (2+1)/3 = 1.000
= 10.1.0.2:80, (1+1)/2 = 1.000
= 10.1.0.1:80, (1+1)/2 = 1.000
`},
		{name: "nq", want: `
nq: first server without active connections, else least (active+1)/weight
  10.1.0.5:80, idle, weight 0
  10.1.0.4:80, idle, overloaded
* 10.1.0.3:80, (2+1)/3 = 1.000
= 10.1.0.2:80, (1+1)/2 = 1.000
= 10.1.0.1:80, (1+1)/2 = 1.000
`},
		{name: "fo", want: `
fo: highest weight
  10.1.0.5:80, weight 0, weight 0
  10.1.0.4:80, weight 1, overloaded
* 10.1.0.3:80, weight 3
  10.1.0.2:80, weight 2
  10.1.0.1:80, weight 2
`},
		{name: "ovf", want: `
ovf: highest weight among servers with active ≤ weight
  10.1.0.5:80, weight 0, active 0, weight 0
  10.1.0.4:80, weight 1, active 0, overloaded
* 10.1.0.3:80, weight 3, active 2
  10.1.0.2:80, weight 2, active 1
  10.1.0.1:80, weight 2, active 1
`},
		{name: "rr", picks: 1, want: `
rr: next eligible server after 10.1.0.3:80
* 10.1.0.2:80
  10.1.0.1:80
  10.1.0.5:80, weight 0
  10.1.0.4:80, overloaded
  10.1.0.3:80
`},
		{name: "wrr", picks: 1, want: `
wrr: next server after 10.1.0.3:80 with weight ≥ 3, then from the head with 1 less; found with weight ≥ 2
  10.1.0.2:80, weight 2
  10.1.0.1:80, weight 2
  10.1.0.5:80, weight 0, weight 0
  10.1.0.4:80, weight 1, overloaded
* 10.1.0.3:80, weight 3
`},
		{name: "sh", flags: sched.Port, want: `
sh: bucket 156 of 256, from hash(172.16.0.1:1024)
* 10.1.0.3:80, bucket 156
`},
		{name: "sh", flags: sched.Fallback, client: 6, want: `
sh: bucket 99 of 256, from hash(172.16.0.6)
  10.1.0.5:80, bucket 99, weight 0
  10.1.0.5:80, bucket 198, weight 0
  10.1.0.4:80, bucket 199, overloaded
* 10.1.0.3:80, bucket 200
`},
		{name: "dh", client: 6, want: `
dh: bucket 29 of 256, from hash(10.2.0.6)
* 10.1.0.1:80
`},
		{name: "mh", flags: sched.Fallback, client: 7, want: `
mh: a slot of 4093, from siphash(172.16.0.7)
  10.1.0.4:80, slot 1249, overloaded
* 10.1.0.1:80, slot 791
`},
		{name: "twos", want: `
twos: two drawn by weight, 6 and 0 of 7; least (active·256+inactive)/weight, the first on a tie
  10.1.0.5:80, (0·256+0)/0, weight 0
  10.1.0.4:80, (0·256+1)/1 = 1.000, overloaded
  10.1.0.3:80, (2·256+1)/3 = 171.000
  10.1.0.2:80, (1·256+0)/2 = 128.000, not drawn
* 10.1.0.1:80, (1·256+0)/2 = 128.000
`},
		{name: "lblc", want: `
lblc: 10.2.0.1 has no server yet: least (active·256+inactive)/weight
  10.1.0.5:80, (0·256+0)/0, weight 0
  10.1.0.4:80, (0·256+1)/1 = 1.000, overloaded
  10.1.0.3:80, (2·256+1)/3 = 171.000
* 10.1.0.2:80, (1·256+0)/2 = 128.000
= 10.1.0.1:80, (1·256+0)/2 = 128.000
`},
		{name: "lblc", picks: 1, want: `
lblc: 10.2.0.1 stays with the server it has
* 10.1.0.2:80, active 1, weight 2
`},
		{name: "lblcr", picks: 1, want: `
lblcr: 10.2.0.1 has a set of 1: of them, least (active·256+inactive)/weight
* 10.1.0.2:80, (1·256+0)/2 = 128.000
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scheduler(t, c.name, c.flags, loaded())
			for range c.picks {
				s.Pick(client(1), nil)
			}
			var rec sched.Record
			chosen := s.Pick(client(max(c.client, 1)), &rec)
			if chosen == nil || rec.Chosen != chosen.ID {
				t.Errorf("picked %v, recorded %d", chosen, rec.Chosen)
			}
			if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), account(&rec)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// loaded is five servers, from the first to the last of IPVS's list: of weight
// 0, overloaded, with 2+1 connections, with 1, with 1.
func loaded() []*sched.RealServer {
	all := servers(2, 2, 3, 1, 0)
	all[0].AddCounts(1, 0, 0)
	all[1].AddCounts(1, 0, 0)
	all[2].AddCounts(2, 1, 0)
	all[3].SetThresholds(1, 0)
	all[3].AddCounts(0, 1, 0)
	return all
}

func TestARecordTellsWhyAnAddressLeavesItsServer(t *testing.T) {
	for name, want := range map[string]string{
		"lblc": "lblc: 10.2.0.1 leaves 10.1.0.2:80 (active 3, weight 2; active above weight while another server has less than half): least (active·256+inactive)/weight",
		"lblcr": "lblcr: the best of the set of 10.2.0.1, 10.1.0.2:80, has too much (active 3, weight 2; active above weight while another server has less than half); " +
			"joins the set: least (active·256+inactive)/weight",
	} {
		all := servers(2, 2)
		s := scheduler(t, name, 0, all)
		had := s.Pick(client(1), nil)
		had.AddCounts(3, 0, 0)
		s.Count(had)
		var rec sched.Record
		if s.Pick(client(1), &rec) == had || rec.Rule != want[len(name)+2:] {
			t.Errorf("%s: %s", name, rec.Rule)
		}
	}
}

func TestARecordOfNoPickTellsWhoWasLeftOut(t *testing.T) {
	for _, name := range sched.Names() {
		all := servers(1, 1)
		s := scheduler(t, name, 0, all)
		for _, server := range all {
			server.SetWeight(0)
			s.Update(server)
		}
		var rec sched.Record
		if s.Pick(client(1), &rec) != nil || rec.Chosen != 0 || rec.Rule == "" || rec.Scheduler != name {
			t.Errorf("%s: %+v", name, rec)
		}
		for _, c := range rec.Candidates {
			if c.Skip != "weight 0" {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}

func TestARecordDoesNotChangeThePicks(t *testing.T) {
	for _, name := range sched.Names() {
		quiet, told := scheduler(t, name, sched.Fallback, loaded()), scheduler(t, name, sched.Fallback, loaded())
		var rec sched.Record
		for n := range 300 {
			a, b := quiet.Pick(client(n), nil), told.Pick(client(n), &rec)
			if a == nil && b == nil {
				continue
			}
			if a.ID != b.ID {
				t.Fatalf("%s: pick %d is %d, told %d", name, n, a.ID, b.ID)
			}
			a.AddCounts(1, 0, 0)
			b.AddCounts(1, 0, 0)
			quiet.Count(a)
			told.Count(b)
		}
	}
}
