package guard

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"uvs/internal/fdstore"
	"uvs/internal/nstest"
)

// watch connects to an address again and again until stop, and counts how often the host
// itself answered.
func watch(client *nstest.Node, addr string) (tried, answered *atomic.Int64, stop func()) {
	tried, answered = &atomic.Int64{}, &atomic.Int64{}
	var end atomic.Bool
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for !end.Load() {
				_ = client.Try(func() error {
					c, err := net.DialTimeout("tcp", addr, time.Millisecond)
					tried.Add(1)
					if e, ok := err.(net.Error); err == nil || !ok || !e.Timeout() {
						answered.Add(1)
					}
					if err == nil {
						c.Close()
					}
					return nil
				})
			}
		})
	}
	return tried, answered, func() { end.Store(true); all.Wait() }
}

// Directors come and go, killed or not: in between the table is kept, and the next lets it go
// only when its own has the same rules.
func TestAKeptTableGuardsUntilTheNextOneDoes(t *testing.T) {
	client, host, _ := lan(t)
	store := fdstore.New()
	defer store.Close()
	r := Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.2:80")}}
	next := func() *Guard {
		var g *Guard
		host.Do(func() (err error) { g, err = New(nil, store); return err })
		set(host, g, Rules{}) // as a director that has no links yet
		set(host, g, r)
		g.Keep()
		return g
	}
	g := next()
	tried, answered, stop := watch(client, "10.0.0.2:80")
	for range 10 {
		if err := g.Leave(); err != nil {
			t.Fatal(err)
		}
		before := tried.Load()
		nstest.Eventually(t, "the client tries while nobody runs", func() bool { return tried.Load() > before+8 })
		g = next()
		if names := store.Names(""); len(names) != 1 {
			t.Errorf("kept are %v, want one", names)
		}
	}
	stop()
	if n := answered.Load(); n > 0 {
		t.Errorf("the host answered %d of %d times", n, tried.Load())
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "the table goes when the guard is closed", func() bool { return dial(client, "10.0.0.2:80", aMoment) == "refused" })
}

// A process can end just when it has kept its table and not yet let the other go.
func TestOfTwoKeptTablesOneGuards(t *testing.T) {
	client, host, _ := lan(t)
	store := fdstore.New()
	defer store.Close()
	r := Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.2:80")}}
	for range 2 {
		var g *Guard
		host.Do(func() (err error) { g, err = New(nil, store); return err })
		set(host, g, r)
		if err := store.Keep(KeptPrefix+g.table.Name, g.nl); err != nil {
			t.Fatal(err)
		}
		_ = g.Leave()
	}
	expect(t, client, "10.0.0.2:80", "silent", "two tables guard")
	var g *Guard
	host.Do(func() (err error) { g, err = New(nil, store); return err })
	expect(t, client, "10.0.0.2:80", "silent", "one guards")
	set(host, g, r)
	g.Keep()
	expect(t, client, "10.0.0.2:80", "silent", "the new one guards")
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}
