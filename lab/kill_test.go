package lab_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
)

// TestAKilledDirectorBreaksNoConnection kills the director under load, several times,
// and starts it again by hand with the same command: connections that carry data go
// on with their servers, and new ones are late at most. The host has neither the
// virtual address nor a route for the servers' replies: what it does with packets
// while nobody runs, it would do to any director.
func TestAKilledDirectorBreaksNoConnection(t *testing.T) {
	n, kills := 250, 3 // 1000 in all
	if testing.Short() {
		n, kills = 25, 1
	}
	for _, topology := range []string{"nat", "fullnat", "dr", "tun", "nat with a SYN proxy", "fullnat with a SYN proxy"} {
		t.Run(topology, func(t *testing.T) {
			topology, proxied := strings.CutSuffix(topology, " with a SYN proxy")
			spec := labtest.Build(t, topology, lab.Options{VIPElsewhere: true})
			spec.Node("director").Forward = false
			l := labtest.Start(t, spec)
			n := n
			if proxied {
				proxySYNs(t, l)
				n /= 5
			}
			load := startLoad(t, l, n)
			for range kills {
				load.await(1)
				if err := l.Kill("director"); err != nil {
					t.Fatal(err)
				}
				if err := l.StartServices("director"); err != nil {
					t.Fatal(err)
				}
			}
			load.await(2)
			load.end()
			if t.Failed() {
				report(t, l)
			}
		})
	}
}

// load is clients with long connections that ask again and again, and one that opens
// a new connection for each request.
type load struct {
	t        *testing.T
	stop     context.CancelFunc
	running  sync.WaitGroup
	sessions []*session
	asked    []atomic.Uint64 // by session
	opened   atomic.Uint64   // connections that did what they were opened for
}

func startLoad(t *testing.T, l *lab.Lab, n int) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	d := &load{t: t, stop: stop, asked: make([]atomic.Uint64, n)}
	for range n {
		d.sessions = append(d.sessions, openSession(t, l))
	}
	for i, s := range d.sessions {
		d.running.Go(func() { d.ask(ctx, i, s) })
	}
	d.running.Go(func() { d.open(ctx, l) })
	return d
}

// ask asks on one connection every second or so.
func (d *load) ask(ctx context.Context, i int, s *session) {
	for ctx.Err() == nil {
		server, err := s.ask(patience)
		if err != nil || server != s.server {
			d.t.Errorf("connection %d, which had %s: %q, %v", i, s.server, server, err)
			return
		}
		d.asked[i].Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(time.Second)):
		}
	}
}

func (d *load) open(ctx context.Context, l *lab.Lab) {
	for ctx.Err() == nil {
		if ok, failed := attempts(l, 1, patience); failed != 0 {
			d.t.Errorf("a new connection fails: %v", ok)
			return
		}
		d.opened.Add(1)
		time.Sleep(10 * time.Millisecond) // the rings of a plain user have to hold what comes meanwhile
	}
}

// await returns when each connection has had so many more answers, and as many new
// ones have been opened.
func (d *load) await(n uint64) {
	d.t.Helper()
	goals := make([]uint64, len(d.asked))
	for i := range goals {
		goals[i] = d.asked[i].Load() + n
	}
	opened := d.opened.Load() + n
	behind := func() string {
		for i, goal := range goals {
			if d.asked[i].Load() < goal {
				return fmt.Sprintf("connection %d", i)
			}
		}
		if d.opened.Load() < opened {
			return "the client that opens new ones"
		}
		return ""
	}
	for deadline := time.Now().Add(2 * patience); behind() != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) || d.t.Failed() {
			d.t.Fatalf("no answer for %s", behind())
		}
	}
}

// end stops the load and waits for it.
func (d *load) end() {
	d.stop()
	d.running.Wait()
}
