package explain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/sched"
)

func TestABlockShowsStagesArithmeticAndChanges(t *testing.T) {
	r := config.Trace{
		Number: 7, Packet: "tcp 172.16.0.9:5000 > 10.0.0.1:80 SYN", Verdict: "forward", Took: 3100,
		Next: "the server answers the client directly; this director will not see the reply",
		Steps: []config.Step{
			{Stage: "rx", What: "eth0, 66 B"},
			{Stage: "sched", At: 700, Pick: &sched.Record{Scheduler: "wlc", Rule: "least (active·256+inactive)/weight", Chosen: 2, Candidates: []sched.Candidate{
				{Server: 1, Addr: "10.1.0.1:80", Figure: "(4·256+12)/1 = 1036.000"},
				{Server: 2, Addr: "10.1.0.22:80", Figure: "(5·256+3)/2 = 641.500"},
				{Server: 3, Addr: "10.1.0.3:80", Skip: "weight 0"},
			}}},
			{Stage: "rewrite", At: 1500, Changes: []config.Change{
				{Field: "ip.ttl", Before: "64", After: "63"},
				{Field: "outer.dst", After: "10.1.0.22"},
				{Field: "ip.dst", Before: "10.0.0.1", After: "10.0.0.1", Note: "so the server must own the VIP"},
			}},
		},
	}
	want := `#7 tcp 172.16.0.9:5000 > 10.0.0.1:80 SYN   forward   3.1 µs
 1 rx       eth0, 66 B                                               +0.0 µs
 2 sched    wlc: least (active·256+inactive)/weight                  +0.7 µs
              10.1.0.1:80   (4·256+12)/1 = 1036.000
            > 10.1.0.22:80  (5·256+3)/2 = 641.500   chosen
              10.1.0.3:80      skipped: weight 0
 3 rewrite                                                           +1.5 µs
            ip.ttl     64                       → 63
            outer.dst  added                      10.1.0.22
            ip.dst     10.0.0.1                 = same   ← so the server must own the VIP
next: the server answers the client directly; this director will not see the reply.
`
	var b strings.Builder
	if err := Print(&b, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
