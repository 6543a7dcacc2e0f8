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
	active atomic.Pointer[[]chan config.Trace] // nil: nobody
	last   atomic.Pointer[config.Trace]
	number atomic.Uint64

	mu sync.Mutex
}

// traceBacklog is how many records wait for a slow reader before some are lost.
const traceBacklog = 1024

// Trace records what is decided about the next n packets, and yields each as it
// comes. It ends with the context.
func (t *tracing) Trace(ctx context.Context, n int) iter.Seq[config.Trace] {
	return func(yield func(config.Trace) bool) {
		records := make(chan config.Trace, traceBacklog)
		t.change(func(all []chan config.Trace) []chan config.Trace { return append(slices.Clip(all), records) })
		defer t.change(func(all []chan config.Trace) []chan config.Trace {
			return slices.DeleteFunc(slices.Clone(all), func(c chan config.Trace) bool { return c == records })
		})
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

// LastTrace returns the packet recorded last. It may fail with
// config.ErrNoTrace.
func (t *tracing) LastTrace() (config.Trace, error) {
	if r := t.last.Load(); r != nil {
		return *r, nil
	}
	return config.Trace{}, fmt.Errorf("%w: record some with uvs trace", config.ErrNoTrace)
}

func (t *tracing) change(f func([]chan config.Trace) []chan config.Trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []chan config.Trace
	if now := t.active.Load(); now != nil {
		all = *now
	}
	if all = f(all); len(all) == 0 {
		t.active.Store(nil)
		return
	}
	t.active.Store(&all)
}

// publish hands a record to everybody who has room for it.
func (t *tracing) publish(r config.Trace) {
	r.Number = t.number.Add(1)
	t.last.Store(&r)
	readers := t.active.Load()
	if readers == nil {
		return
	}
	for _, reader := range *readers {
		select {
		case reader <- r:
		default:
		}
	}
}
