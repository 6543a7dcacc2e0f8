package forwarder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/sched/sim"
)

// recordArrivals starts a recording and returns a function that ends it.
func (b *testbed) recordArrivals(service string) (end func() []sim.Line) {
	b.t.Helper()
	k, err := config.ParseKey(service)
	mustDo(b.t, err)
	ctx, cancel := context.WithCancel(b.t.Context())
	seq, err := b.fw.Record(ctx, k)
	mustDo(b.t, err)
	var lines []sim.Line
	var done sync.WaitGroup
	done.Go(func() {
		for l := range seq {
			lines = append(lines, l)
		}
	})
	synctest.Wait()
	return func() []sim.Line {
		synctest.Wait()
		cancel()
		done.Wait()
		return lines
	}
}

// TestARecordingReplayedAsItWasMovesNothing lets connections come, end, be reset and
// expire at random, and servers change, and replays that through the same scheduler.
func TestARecordingReplayedAsItWasMovesNothing(t *testing.T) {
	for _, scheduler := range []string{"wlc", "wrr", "lc", "sed", "nq", "fo", "ovf", "sh", "mh", "rr", "dh", "lblc", "lblcr"} {
		for _, persistent := range []string{"", " -p 20"} {
			t.Run(scheduler+persistent, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newTestbed(t, "-A -t 10.2.0.1:80 -s "+scheduler+persistent+`
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m -w 3
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 1
-a -t 10.2.0.1:80 -r 10.1.0.3:8080 -m -w 2`)
					end := b.recordArrivals("tcp:10.2.0.1:80")
					b.randomArrivals(rand.New(rand.NewPCG(1, 2)), 300)
					lines := end()
					c, err := sim.Replay(lines, sim.Otherwise{})
					mustDo(t, err)
					if c.Recorded.Connections < 100 || c.Moved != 0 || c.MovedClients != 0 || c.Lost != 0 {
						t.Errorf("of %d connections %d moved, of %d clients %d; %d lines lost",
							c.Recorded.Connections, c.Moved, c.Clients, c.MovedClients, c.Lost)
					}
				})
			})
		}
	}
}

// randomArrivals has clients do so many things.
func (b *testbed) randomArrivals(r *rand.Rand, n int) {
	b.t.Helper()
	type session struct{ client string }
	var all []session
	for i := range n {
		switch r.IntN(6) {
		case 0, 1, 2:
			s := session{fmt.Sprintf("172.16.0.%d:%d", 5+r.IntN(20), 20000+i)}
			b.send(1, at(b.t, 1, s.client, "10.2.0.1:80", syn, 999, 0, ""))
			b.send(1, at(b.t, 1, s.client, "10.2.0.1:80", ack, 1000, 5001, ""))
			all = append(all, s)
		case 3, 4:
			if len(all) == 0 {
				continue
			}
			at0 := r.IntN(len(all))
			flags := []uint8{frame.FlagFIN | frame.FlagACK, frame.FlagRST}[r.IntN(2)]
			b.send(1, seg(b.t, 1, all[at0].client, "10.2.0.1:80", flags, ""))
			all = append(all[:at0], all[at0+1:]...)
		default:
			b.pass(time.Duration(r.IntN(15)) * time.Second)
			synctest.Wait()
		}
		if i == n/2 {
			b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 4\n-d -t 10.2.0.1:80 -r 10.1.0.3:8080")
			b.pass(time.Second)
			b.apply("-a -t 10.2.0.1:80 -r 10.1.0.3:8080 -m -w 5")
			b.pass(time.Second)
		}
	}
}
