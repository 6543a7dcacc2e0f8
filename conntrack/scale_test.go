package conntrack

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// resident returns the process's resident memory in bytes.
func resident(t testing.TB) int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc/self/statm")
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}

// worst keeps the longest of many durations, and how many were beyond a limit.
type worst struct {
	limit time.Duration
	max   time.Duration
	over  int
}

func (w *worst) note(d time.Duration) {
	w.max = max(w.max, d)
	if d > w.limit {
		w.over++
	}
}

func (w *worst) String() string {
	return fmt.Sprintf("worst %v, %d beyond %v", w.max, w.over, w.limit)
}

// worked returns the processor time this goroutine's thread has used, so that
// the time other processes took away from it does not count.
func worked(t testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Skip("no clock of a thread's processor time")
	}
	return time.Duration(ts.Nano())
}

// TestManyConnections fills a table with a million NAT connections (ten million
// with UVS_TEST_CONNS=10000000), and states the memory each takes and the
// longest time any operation took on a processor. The test checks memory only: interrupts and
// other processes on the same processor still affect the times.
func TestManyConnections(t *testing.T) {
	n := 1_000_000
	if s := os.Getenv("UVS_TEST_CONNS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if testing.Short() {
		t.Skip("fills a table with a million connections")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := resident(t)
	r := newTable(t, Config{Capacity: n}).Reader()
	insert, lookup, sweep := worst{limit: 2 * time.Millisecond}, worst{limit: 2 * time.Millisecond}, worst{limit: time.Millisecond}
	began := worked(t)
	at := began
	for i := range n {
		c := nthConn(i)
		if _, inserted := r.Insert(&c, 1); !inserted {
			t.Fatalf("connection %d not inserted", i)
		}
		now := worked(t)
		insert.note(now - at)
		at = now
	}
	took := worked(t) - began
	each := float64(resident(t)-before) / float64(n)
	t.Logf("%d connections: %.1f bytes each, %v an insert, %v", n, each, took/time.Duration(n), &insert)
	if each > 128 {
		t.Errorf("%.1f bytes a connection, want at most 128", each)
	}
	at = worked(t)
	for i := range n {
		c := nthConn(i)
		f := c.ReplyFlow()
		if got, isReply := r.Lookup(&f); got == nil || !isReply {
			t.Fatalf("reply of connection %d not found", i)
		}
		now := worked(t)
		lookup.note(now - at)
		at = now
	}
	t.Logf("lookup: %v", &lookup)
	began = worked(t)
	at = began
	for done := false; !done; {
		done = r.t.Sweep(100, 64)
		now := worked(t)
		sweep.note(now - at)
		at = now
	}
	t.Logf("expired all in %v, slices of 64: %v", worked(t)-began, &sweep)
	if left := r.t.Len(); left != 0 {
		t.Errorf("%d connections left", left)
	}
}

// TestMemoryIsThereBeforeItIsUsed fills a table slowly enough for Provide.
func TestMemoryIsThereBeforeItIsUsed(t *testing.T) {
	const n, capacity = 100_000, 1 << 20
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared %v", shared), func(t *testing.T) {
			conf := Config{Capacity: capacity}
			if shared {
				conf.Memory = newFile(t, capacity).mapped()
			}
			table := newTable(t, conf)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { table.Provide(ctx); close(done) }()
			t.Cleanup(func() { cancel(); <-done })
			before := resident(t)
			insertSlowly(t, table, n)
			if used, ready := table.connBytes(), int(table.mem.conns.ready.Load()); ready < used || ready > used+2*hugePage {
				t.Errorf("%d bytes are ready for %d used", ready, used)
			}
			if most := n*(ConnSize+4) + 5*hugePage; resident(t)-before > most {
				t.Errorf("%d connections take %d KiB", n, (resident(t)-before)>>10)
			}
			if shared && !isHuge(conf.Memory[hugePage:2*hugePage]) {
				t.Log("this kernel has no huge pages for shared memory")
			}
		})
	}
}

// insertSlowly inserts n connections, each when its memory is ready, and finds them.
func insertSlowly(t *testing.T, table *Table, n int) {
	r := table.Reader()
	for i := range n {
		for table.mem.conns.needsPage(table.connBytes()) || table.mem.heads.needsPage(table.headBytes()) {
			table.wakeProvide()
			runtime.Gosched()
		}
		c := nthConn(i)
		if _, inserted := r.Insert(&c, 1); !inserted {
			t.Fatalf("connection %d not inserted", i)
		}
	}
	for i := range n {
		c := nthConn(i)
		f := c.ReplyFlow()
		if got, _ := r.Lookup(&f); got == nil {
			t.Fatalf("connection %d not found", i)
		}
	}
}

// isHuge reports whether shared memory is in a huge page: then it can be unmapped
// and touched again with a single fault.
func isHuge(b []byte) bool {
	_ = unix.Madvise(b, unix.MADV_DONTNEED) // a file's memory stays what it was
	faults := func() int64 {
		var u unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &u)
		return u.Minflt
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := faults()
	for at := 0; at < len(b); at += pageSize {
		touch(b[at:])
	}
	return faults()-before < 8
}

// TestEmptyTableCostsNothing checks that memory is reserved, not used.
func TestEmptyTableCostsNothing(t *testing.T) {
	before := resident(t)
	r := newTable(t, Config{}).Reader()
	for i := range 1000 {
		c := nthConn(i)
		r.Insert(&c, 1)
	}
	if used := resident(t) - before; used > 2<<20 {
		t.Errorf("1000 connections take %d KiB", used>>10)
	}
}
