package forwarder

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"uvs/forwarder/state"
	"uvs/sched"
)

// BenchmarkMemory compares where the connections are, in turns within one run: a
// packet of an established flow with memory that ends with the process, twice, with
// that of a file, with that of a file that somebody else has filled, and with that of a
// file in ordinary pages. Flows come in an order that
// has nothing to do with where they are. Ratios are medians over all rounds, to the
// first kind.
func BenchmarkMemory(b *testing.B) {
	kinds := []string{"private", "again", "shared", "adopted", "ordinary"}
	for _, m := range []sched.Method{sched.Route, sched.Masq, sched.FullNAT} {
		for _, flows := range []int{1 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%v/flows=%d", m, flows), func(b *testing.B) {
				var all []*course
				for _, kind := range kinds {
					all = append(all, courseOf(b, kind, m, flows))
				}
				compare(b, kinds, all, flows)
			})
		}
	}
}

// leap is how far one client of a course is from the next.
const leap = 0x9e3779b1

// courseOf returns a course with so many flows in one kind of memory.
func courseOf(b *testing.B, kind string, m sched.Method, flows int) (c *course) {
	conf := Config{MaxConns: flows + 4096}
	switch kind {
	case "shared":
		conf.Memory = sharedMemory(b, conf.MaxConns, hugePage)
	case "adopted":
		f := memoryFile(b, conf.MaxConns)
		conf.Memory = mapped(b, f, hugePage)
		defer func() {
			conf.Memory = mapped(b, f, hugePage)
			c = newCourseWith(b, 4, m, "rr", conf)
			if inv, err := c.fw.Adopt(); err != nil || inv.Conns != flows {
				b.Fatal(inv, err)
			}
			c.leap = leap
		}()
	case "ordinary":
		conf.Memory = sharedMemory(b, conf.MaxConns, 4096)
	}
	c = newCourseWith(b, 4, m, "rr", conf)
	for i := 0; i < flows; i += batchSize {
		c.w.batch(c.load(i, flows))
	}
	c.leap = leap
	return c
}

// compare runs the courses in turns, each for some thousand packets.
func compare(b *testing.B, kinds []string, all []*course, flows int) {
	const turn = 1 << 15
	costs := make([][]float64, len(all))
	b.ResetTimer()
	first := 0
	for round := 0; b.Loop(); round++ {
		for i := range all {
			i = (i + round) % len(all)
			began := processTime(b)
			for n := 0; n < turn; n += batchSize {
				all[i].w.batch(all[i].load(first+n, flows))
			}
			costs[i] = append(costs[i], float64(processTime(b)-began)/turn)
		}
		first += turn
	}
	for i := range all {
		ratios := make([]float64, len(costs[i]))
		for n := range ratios {
			ratios[n] = costs[i][n] / costs[0][n]
		}
		slices.Sort(ratios)
		slices.Sort(costs[i])
		b.ReportMetric(costs[i][len(costs[i])/2], kinds[i]+"-ns")
		if i > 0 {
			b.ReportMetric(ratios[len(ratios)/2], kinds[i]+"-ratio")
		}
	}
}

// BenchmarkStart is the start of a director with a million connections in its state,
// until its first packet has been forwarded, in turns with one that has none. The
// process and its ports are there already.
func BenchmarkStart(b *testing.B) {
	for _, m := range []sched.Method{sched.Route, sched.Masq, sched.FullNAT} {
		for _, flows := range []int{batchSize, 1 << 20} {
			b.Run(fmt.Sprintf("%v/flows=%d", m, flows), func(b *testing.B) {
				dir := b.TempDir()
				if inMemory, err := os.MkdirTemp("/dev/shm", "uvs-test-"); err == nil {
					b.Cleanup(func() { os.RemoveAll(inMemory) })
					dir = inMemory
				}
				fillState(b, dir, m, flows)
				measured(b, func() {
					for b.Loop() {
						startOnce(b, dir, flows)
					}
				})
			})
		}
	}
}

// fillState leaves connections in a directory.
func fillState(b *testing.B, dir string, m sched.Method, flows int) {
	s, err := state.Open(state.Options{Dir: dir})
	mustDo(b, err)
	c := newCourseWith(b, 4, m, "rr", Config{MaxConns: 1<<20 + 4096, State: s})
	for i := 0; i < flows; i += batchSize {
		c.w.batch(c.load(i, flows))
	}
	mustDo(b, s.Close())
}

// startOnce starts a director with the state in a directory and forwards a batch.
func startOnce(b *testing.B, dir string, flows int) {
	s, err := state.Open(state.Options{Dir: dir})
	mustDo(b, err)
	out := &void{}
	network := newNetwork()
	fw, err := New(Config{Driver: out, Neighbours: network, MaxConns: 1<<20 + 4096, State: s})
	mustDo(b, err)
	mustDo(b, fw.RebuildPlan())
	fw.links.Store(fw.linksOf(network.Interfaces))
	c := &course{fw: fw, w: fw.newWorker(clientLink, 0, out), out: out, leap: 1}
	c.tmpl = dgram(b, 1, "172.16.0.1:1000", "10.2.0.1:53", strings.Repeat("x", 18))
	c.w.batch(c.load(0, flows))
	b.StopTimer()
	if out.sent != batchSize || fw.conns.Len() != flows {
		b.Fatalf("%d packets are forwarded, %d connections known", out.sent, fw.conns.Len())
	}
	c.w.reader.Close()
	mustDo(b, fw.Close())
	mustDo(b, s.Close())
	b.StartTimer()
}
