package forwarder

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"uvs/forwarder/config"
)

// tracing is the set of readers of records about packets. Without readers, the workers
// only check it once a batch.
type tracing struct {
	active atomic.Pointer[[]reader] // nil: no reader
	last   atomic.Pointer[config.Trace]
	number atomic.Uint64

	mu sync.Mutex
}

// reader receives records.
type reader struct {
	records    chan config.Trace
	neighbours bool // those of ARP and neighbour discovery too
}

// traceBacklog is how many records wait for a slow reader before some are lost.
const traceBacklog = 1024

// Trace records what is decided about the next n packets, and yields each as it
// arrives. Packets of ARP and neighbour discovery count only with neighbours. It ends
// with the context.
func (t *tracing) Trace(ctx context.Context, n int, neighbours bool) iter.Seq[config.Trace] {
	return func(yield func(config.Trace) bool) {
		records, stop := t.StartTrace(neighbours)
		defer stop()
		for range n {
			select {
			case <-ctx.Done():
				return
			case r := <-records:
				if !yield(r) {
					return
				}
			}
		}
	}
}

// StartTrace is Trace for a caller that has to know when recording begins: it has begun
// when StartTrace returns, and goes on until stop is called. What the caller does not
// receive in time is lost.
func (t *tracing) StartTrace(neighbours bool) (records <-chan config.Trace, stop func()) {
	c := make(chan config.Trace, traceBacklog)
	t.change(func(all []reader) []reader { return append(slices.Clip(all), reader{c, neighbours}) })
	return c, func() {
		t.change(func(all []reader) []reader {
			return slices.DeleteFunc(slices.Clone(all), func(r reader) bool { return r.records == c })
		})
	}
}

// LastTrace returns the packet recorded last. It may fail with
// config.ErrNoTrace.
func (t *tracing) LastTrace() (config.Trace, error) {
	if r := t.last.Load(); r != nil {
		return *r, nil
	}
	return config.Trace{}, fmt.Errorf("%w: record some with uvs trace", config.ErrNoTrace)
}

func (t *tracing) change(f func([]reader) []reader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []reader
	if now := t.active.Load(); now != nil {
		all = *now
	}
	if all = f(all); len(all) == 0 {
		t.active.Store(nil)
		return
	}
	t.active.Store(&all)
}

// publish hands a record to each reader that wants it and has room for it. neighbour
// says that the packet was one of ARP or neighbour discovery, which is recorded only if
// a reader wants those.
func (t *tracing) publish(r config.Trace, neighbour bool) {
	var readers []reader
	if active := t.active.Load(); active != nil {
		readers = *active
	}
	if neighbour && !slices.ContainsFunc(readers, func(to reader) bool { return to.neighbours }) {
		return
	}
	r.Number = t.number.Add(1)
	t.last.Store(&r)
	for _, to := range readers {
		if neighbour && !to.neighbours {
			continue
		}
		select {
		case to.records <- r:
		default:
		}
	}
}
