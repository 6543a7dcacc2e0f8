package forwarder

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// recording starts a trace and returns a function that returns the records so far.
func (b *testbed) recording() func() []config.Trace {
	records, stop := b.fw.StartTrace(Wanted{})
	b.t.Cleanup(stop)
	return func() (all []config.Trace) {
		for len(records) > 0 {
			all = append(all, <-records)
		}
		return all
	}
}

// traced is the director's Trace of n packets.
func (b *testbed) traced(ctx context.Context, n int) iter.Seq[config.Trace] {
	records, err := b.fw.Trace(ctx, n, config.TraceOptions{})
	mustDo(b.t, err)
	return records
}

// stages summarizes a record.
func stages(r config.Trace) string {
	var words []string
	for _, s := range r.Steps {
		word := s.Stage
		if s.Pick != nil {
			word += " " + s.Pick.Scheduler
		}
		for _, c := range s.Changes {
			sign := "≠"
			if c.Before == c.After {
				sign = "="
			}
			word += " " + c.Field + sign
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ") + ": " + r.Verdict
}

func TestEachStageIsRecorded(t *testing.T) {
	b := newTestbed(t, twoByNAT+`
-A -t 10.2.0.5:80 -s wlc
-a -t 10.2.0.5:80 -r 10.1.0.1:80 -g`)
	all := b.recording()
	b.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""))
	b.send(2, seg(t, 2, "10.1.0.2:8080", "172.16.0.9:30001", frame.FlagSYN|frame.FlagACK, ""))
	b.send(1, seg(t, 1, "172.16.0.9:30002", "10.2.0.5:80", frame.FlagSYN, ""))
	b.send(1, seg(t, 1, "172.16.0.9:30003", "10.2.0.5:80", frame.FlagACK, ""))
	b.send(1, seg(t, 1, "172.16.0.9:30003", "10.9.0.1:80", frame.FlagSYN, ""))
	records := all()
	var got []string
	for _, r := range records {
		got = append(got, stages(r))
	}
	want := []string{
		"rx, guard, conn, service, sched rr, conn, neigh, mtu, rewrite eth.src≠ eth.dst≠ ip.ttl≠ ip.src= ip.dst≠ dport≠, tx: forward",
		"rx, conn, neigh, mtu, rewrite eth.src≠ eth.dst≠ ip.ttl≠ ip.src≠ sport≠, tx: forward",
		"rx, guard, conn, service, sched wlc, conn, neigh, mtu, rewrite eth.src≠ eth.dst≠ ip.ttl≠ ip.dst= dport=, tx: forward",
		"rx, guard, conn, service, neigh, mtu, answer, tx: answered",
		"rx, conn, service: pass",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := records[0].Steps[4].Pick; p.Chosen == 0 || len(p.Candidates) != 2 {
		t.Errorf("the scheduler explained itself with %+v", p)
	}
	if last, err := b.fw.LastTrace(); err != nil || last.Verdict != "pass" || last.Number != 5 {
		t.Errorf("the last is %+v, %v", last, err)
	}
}

func TestATraceEndsAfterItsPacketsOrWithItsReader(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	if _, err := b.fw.LastTrace(); !errors.Is(err, config.ErrNoTrace) {
		t.Errorf("before any record: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	count := make(chan int)
	go func() {
		n := 0
		for range b.traced(ctx, 3) {
			n++
		}
		count <- n
	}()
	for b.fw.active.Load() == nil && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		b.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""))
	}
	if n := <-count; n != 3 || b.fw.active.Load() != nil {
		t.Errorf("%d records, and still recording: %v", n, b.fw.active.Load() != nil)
	}
	cancel()
	for range b.traced(ctx, 1) {
		t.Error("a record after the end of the context")
	}
	if b.fw.active.Load() != nil {
		t.Error("still recording after the end of the context")
	}
}

func TestATraceLeavesNeighbourDiscoveryOutUnlessAsked(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	plain := b.recording()
	question := dgram(t, 1, "172.16.0.9:1", "10.2.0.1:1", "")
	question[12], question[13] = frame.EtherARP>>8, frame.EtherARP&0xff
	solicitation := icmp(1, "fd00::9", "fd00::1", layers.ICMPv6TypeNeighborSolicitation, 0, 0, string(make([]byte, 16)))
	send := func() {
		b.send(1, question)
		b.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""))
		b.send(1, solicitation)
	}
	send()
	if got := plain(); len(got) != 1 || got[0].Number != 1 || !strings.HasPrefix(got[0].Packet, "tcp ") {
		t.Errorf("unasked: %+v", got)
	}
	all, stop := b.fw.StartTrace(Wanted{Neighbours: true})
	defer stop()
	send()
	if got := plain(); len(got) != 1 {
		t.Errorf("beside one who asked: %+v", got)
	}
	for _, want := range []string{"arp", "tcp ", "icmp6 "} {
		if r := <-all; !strings.HasPrefix(r.Packet, want) {
			t.Errorf("asked: %q, want %s", r.Packet, want)
		}
	}
}
