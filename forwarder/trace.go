package forwarder

import (
	"context"
	"fmt"
	"iter"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/tracefilter"
)

// tracing is the set of readers of records about packets. Without readers, the workers
// only check it once a batch.
type tracing struct {
	readers[*reader]
	last   atomic.Pointer[config.Trace]
	number atomic.Uint64
	lasts  [frame.Verdicts]atomic.Pointer[config.Trace] // by verdict
	kept   [frame.Verdicts]atomic.Int64                 // when an example was kept last, by the director's clock

	mu     sync.Mutex
	recent [recentTraces]*config.Trace // by number; guarded by mu
}

// recentTraces is how many records can be read again.
const recentTraces = 1024

// Wanted says which records a reader wants.
type Wanted struct {
	Filter     *tracefilter.Filter // nil: all
	Neighbours bool                // those of ARP and neighbour discovery too
	Frames     bool                // with the frames as they came and left
}

// reader receives records: the last traceBacklog of those that it has not taken yet.
type reader struct {
	Wanted
	records chan config.Trace

	mu      sync.Mutex // held to put a record
	waiting []int      // bytes of the frames of those that wait, and perhaps of some taken before
	bytes   int        // the sum
}

// traceBacklog is how many records wait for a slow reader. Then the oldest are lost, and
// counted: packets do not wait.
const traceBacklog = 1024

// traceBytes is how many bytes of frames wait for a slow reader, 16 MB: a merged frame
// has up to 64 kB, and leaves in pieces.
const traceBytes = 16 << 20

// Trace records what is decided about the next n packets that the options ask for, and
// yields each as it arrives. It ends with the context. It may fail with config.ErrInvalid.
func (t *tracing) Trace(ctx context.Context, n int, o config.TraceOptions) (iter.Seq[config.Trace], error) {
	filter, err := tracefilter.Parse(o.Filter)
	if err != nil {
		return nil, &config.FieldError{Field: "filter", Problem: err.Error()}
	}
	return func(yield func(config.Trace) bool) {
		records, stop := t.StartTrace(Wanted{Filter: filter, Neighbours: o.Neighbours, Frames: o.Frames})
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
	}, nil
}

// StartTrace is Trace for a caller that has to know when recording begins: it has begun
// when StartTrace returns, and goes on until stop is called. Of what the caller does not
// receive in time the oldest is lost; the next record says how many in Missed.
func (t *tracing) StartTrace(wanted Wanted) (records <-chan config.Trace, stop func()) {
	r := &reader{Wanted: wanted, records: make(chan config.Trace, traceBacklog)}
	t.add(r)
	return r.records, func() { t.remove(r) }
}

// LastTrace returns the packet recorded last. It may fail with
// config.ErrNoTrace.
func (t *tracing) LastTrace() (config.Trace, error) {
	if r := t.last.Load(); r != nil {
		return *r, nil
	}
	return config.Trace{}, fmt.Errorf("%w: record some with uvs trace", config.ErrNoTrace)
}

func (t *tracing) remember(r *config.Trace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent[r.Number%recentTraces] = r
}

// RecentTrace returns one of the last recentTraces records by its number. It may fail with
// config.ErrNoTrace.
func (t *tracing) RecentTrace(number uint64) (config.Trace, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.recent[number%recentTraces]; r != nil && r.Number == number {
		return *r, nil
	}
	return config.Trace{}, fmt.Errorf("%w with the number %d; the last %d can be read", config.ErrNoTrace, number, recentTraces)
}

// LastDrops returns an example of each reason to drop, by its name: the last packet that
// was recorded, or one of the last second with its headers only.
func (t *tracing) LastDrops() map[string]config.Trace {
	all := map[string]config.Trace{}
	for v := range frame.Verdict(frame.Verdicts) {
		if r := t.lasts[v].Load(); r != nil && v.IsDrop() {
			all[v.String()] = *r
		}
	}
	return all
}

// exampleEvery is how often a dropped packet is kept as an example, for each reason.
const exampleEvery = time.Second

// example keeps a frame that is dropped as the last one with its verdict, if there is none
// of this second yet by the director's clock. Its Flow is that with which it arrived.
func (t *tracing) example(f *frame.Frame, link string, v frame.Verdict, clock time.Duration) {
	if last := t.kept[v].Load(); last != 0 && int64(clock)-last < int64(exampleEvery) || !t.kept[v].CompareAndSwap(last, max(1, int64(clock))) {
		return
	}
	r := &config.Trace{Time: time.Now(), Link: link, Length: f.Len(), Packet: f.Words(), Verdict: v.String(), Steps: []config.Step{}}
	if f.Len() >= frame.EthernetLen && link != "" {
		r.Steps = append(r.Steps, config.Step{Stage: "rx", Code: "rx", What: link + ", from " + net.HardwareAddr(f.Ethernet()[6:12]).String()})
	}
	t.lasts[v].Store(r)
}

// wants reports whether a reader may want a record of a packet before it is handled, and
// whether with frames. Most packets end at a filter.
func (t *tracing) wants(w *worker, f *frame.Frame, v frame.Verdict, found *conntrack.Found) (wanted, frames bool) {
	active := t.active.Load()
	if active == nil {
		return false, false
	}
	p := &w.asked
	p.Frame, p.Conn, p.Reply, p.Link = f, found.Conn, found.Reply, w.link.Name
	for _, r := range *active {
		if r.Filter.Match(p) == tracefilter.No || !r.Neighbours && isNeighbours(f, v) {
			continue
		}
		wanted, frames = true, frames || r.Frames
	}
	return wanted, frames
}

// isNeighbours reports whether a packet is one of ARP or neighbour discovery.
func isNeighbours(f *frame.Frame, v frame.Verdict) bool {
	return f.Info.EtherType == frame.EtherARP || v == frame.Continue && discovery(f)
}

// decided returns what filters ask about a complete record.
func (r *record) decided() *tracefilter.Decided {
	d := &tracefilter.Decided{
		Verdict: r.Verdict, Service: r.Service, Client: r.Client, Server: r.Server, Local: r.Local,
		Reply: r.reply, Flow: r.flow, Info: r.info, Length: r.Length,
	}
	d.Opened = slices.ContainsFunc(r.Steps, func(s config.Step) bool { return s.Code == "conn-new" || s.Code == "conn-once" })
	return d
}

// publish hands a record to each reader that wants it. neighbour says that the packet was
// one of ARP or neighbour discovery.
func (t *tracing) publish(r *record, v frame.Verdict, neighbour bool, clock time.Duration) {
	var readers []*reader
	if active := t.active.Load(); active != nil {
		readers = *active
	}
	p := tracefilter.Packet{Link: r.Link, Decided: r.decided()}
	numbered := false
	for _, to := range readers {
		if neighbour && !to.Neighbours || to.Filter.Match(&p) != tracefilter.Yes {
			continue
		}
		if !numbered {
			r.Number, numbered = t.number.Add(1), true
			kept := r.Trace
			kept.Frame, kept.Sent = nil, nil
			t.last.Store(&kept)
			t.remember(&kept)
			t.lasts[v].Store(&kept)
			t.kept[v].Store(max(1, int64(clock)))
		}
		to.put(r.Trace)
	}
}

// put gives a reader a record, in place of the oldest ones if it has no room.
func (to *reader) put(r config.Trace) {
	if !to.Frames {
		r.Frame, r.Sent = nil, nil
	}
	size := len(r.Frame)
	for _, s := range r.Sent {
		size += len(s.Frame)
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	for !to.room(size) {
		select {
		case lost := <-to.records:
			r.Missed += lost.Missed + 1
		default:
		}
	}
	to.waiting, to.bytes = append(to.waiting, size), to.bytes+size
	to.records <- r
}

// room reports whether another record with so many bytes of frames may wait. One may in any
// case. The caller holds mu, so that records only become fewer.
func (to *reader) room(size int) bool {
	for len(to.waiting) > len(to.records) {
		to.bytes -= to.waiting[0]
		to.waiting = to.waiting[1:]
	}
	return len(to.waiting) == 0 || len(to.waiting) < traceBacklog && to.bytes+size <= traceBytes
}
