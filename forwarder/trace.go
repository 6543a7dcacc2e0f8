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

// tracing is who wants to know what is decided about packets. While there is
// nobody, the workers look at it once a batch and that is all.
type tracing struct {
	active atomic.Pointer[[]reader] // nil: nobody
	last   atomic.Pointer[config.Trace]
	number atomic.Uint64

	mu sync.Mutex
}

// reader is somebody who wants records.
type reader struct {
	records    chan config.Trace
	neighbours bool // those of ARP and neighbour discovery too
}

// traceBacklog is how many records wait for a slow reader before some are lost.
const traceBacklog = 1024

// Trace records what is decided about the next n packets, and yields each as it
// comes. Packets of ARP and neighbour discovery count only with neighbours. It
// ends with the context.
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

// StartTrace is Trace for a caller that has to know when recording begins: it has
// begun when StartTrace returns, and goes on until stop is called. Of what the
// caller does not receive in time, the rest is lost.
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

// publish hands a record to everybody who wants it and has room for it.
// neighbour says that the packet was one of ARP or neighbour discovery, which
// is a record only if somebody wants those.
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
