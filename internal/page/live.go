package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"uvs/forwarder/client"
)

// Bounds of the live view.
const (
	liveEvery  = time.Second
	liveCost   = 20              // the director is asked for at most 1/20 of the time
	liveKept   = 180             // changes that a new reader gets
	liveBytes  = 16 << 20        // of these, of which the last is kept in any case
	liveLinger = 5 * time.Second // after the last reader
	keepAlive  = 15 * time.Second
)

// live asks the director for its services and counters once a second while somebody
// reads, and remembers what changed: a page that is opened later begins with a history.
type live struct {
	director *client.Client

	mu      sync.Mutex
	readers int
	running bool
	epoch   int64         // tells the numbers of this process from those of another
	base    view          // before the first of changes
	now     view          // after the last of changes
	first   uint64        // number of the first of changes
	changes []change      // that are kept
	bytes   int           // of the services in changes
	lost    string        // why the director does not answer; empty: it does
	more    chan struct{} // closed when something changes
}

// view is what the director says at one moment. Services are as the API has them.
type view struct {
	At       time.Time                  `json:"at"`
	Order    []string                   `json:"order"`
	Services map[string]json.RawMessage `json:"services"`
	Totals   json.RawMessage            `json:"totals"`
	Counters map[string]uint64          `json:"counters"`
}

// change is what is new in a view, in the same form. A service that is not in Order has
// gone.
type change view

func newLive(c *client.Client) *live {
	return &live{director: c, epoch: time.Now().UnixNano(), more: make(chan struct{})}
}

// join has the director asked until leave.
func (l *live) join(ctx context.Context) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers++
	if !l.running {
		l.running = true
		go l.run(context.WithoutCancel(ctx))
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.readers--
	}
}

// run asks until nobody has read for a while.
func (l *live) run(ctx context.Context) {
	idle := time.Duration(0)
	for {
		began := time.Now()
		v, err := l.ask(ctx)
		l.note(v, err)
		wait := max(liveEvery, liveCost*time.Since(began))
		time.Sleep(wait)
		l.mu.Lock()
		if idle += wait; l.readers > 0 {
			idle = 0
		}
		if idle > liveLinger {
			l.running = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// ask reads what is shown.
func (l *live) ask(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	v := view{At: time.Now().UTC(), Order: []string{}, Services: map[string]json.RawMessage{}}
	var services []json.RawMessage
	err := errors.Join(
		get(ctx, l.director, "/v1/services", &services), get(ctx, l.director, "/v1/totals", &v.Totals), get(ctx, l.director, "/v1/counters", &v.Counters))
	if err != nil {
		return v, err
	}
	for _, text := range services {
		var key serviceKey
		if err := json.Unmarshal(text, &key); err != nil {
			return v, err
		}
		v.Order = append(v.Order, key.name())
		v.Services[key.name()] = text
	}
	return v, nil
}

// serviceKey is what names a service in the control API, as text: a director of another
// version may have values that this one does not know.
type serviceKey struct {
	Proto  string `json:"protocol"`
	Addr   string `json:"address"`
	Port   uint16 `json:"port"`
	Mark   uint32 `json:"mark"`
	Family string `json:"family"`
}

// name returns the name as config.Key has it.
func (k serviceKey) name() string {
	switch {
	case k.Mark != 0 && k.Family == "ipv6":
		return fmt.Sprintf("mark:%d:ipv6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("mark:%d", k.Mark)
	}
	return k.Proto + ":" + net.JoinHostPort(k.Addr, fmt.Sprint(k.Port))
}

// note takes the next view, or the reason why there is none.
func (l *live) note(v view, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := ""
	if err != nil {
		lost = err.Error()
	}
	c := l.now.changeTo(v)
	switch {
	case err != nil && lost == l.lost:
		return
	case err != nil:
		l.lost = lost
	case l.now.At.IsZero():
		l.base, l.now, l.lost = v, v, ""
	case c == nil && l.lost == "":
		return
	default:
		l.lost = ""
		if c != nil {
			l.changes = append(l.changes, *c)
			l.bytes += c.bytes()
			l.now = v
		}
		l.forget()
	}
	close(l.more)
	l.more = make(chan struct{})
}

// forget makes what is too long ago part of the base.
func (l *live) forget() {
	for len(l.changes) > liveKept || l.bytes > liveBytes && len(l.changes) > 1 {
		l.base.apply(l.changes[0])
		l.bytes -= l.changes[0].bytes()
		l.changes = l.changes[1:]
		l.first++
	}
}

// bytes is how much memory a change takes, roughly.
func (c *change) bytes() (n int) {
	for _, text := range c.Services {
		n += len(text)
	}
	return n
}

// changeTo returns what is new in v, nil if nothing is.
func (old *view) changeTo(v view) *change {
	c := change{At: v.At, Order: v.Order, Services: map[string]json.RawMessage{}, Totals: v.Totals, Counters: map[string]uint64{}}
	for name, text := range v.Services {
		if !bytes.Equal(old.Services[name], text) {
			c.Services[name] = text
		}
	}
	for name, n := range v.Counters {
		if was, known := old.Counters[name]; !known || was != n {
			c.Counters[name] = n
		}
	}
	if len(c.Services) == 0 && len(c.Counters) == 0 && slices.Equal(old.Order, v.Order) && bytes.Equal(old.Totals, v.Totals) {
		return nil
	}
	return &c
}

func (old *view) apply(c change) {
	services := map[string]json.RawMessage{}
	for _, name := range c.Order {
		services[name] = old.Services[name]
		if text, changed := c.Services[name]; changed {
			services[name] = text
		}
	}
	counters := maps.Clone(old.Counters)
	maps.Copy(counters, c.Counters)
	*old = view{c.At, c.Order, services, c.Totals, counters}
}

// after returns what a reader has to be told who knows everything up to a number: the
// whole view if that is too long ago, then changes; and a channel that is closed when there
// is more.
func (l *live) after(next uint64, whole bool) (v *view, list []change, from uint64, lost string, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.first + uint64(len(l.changes))
	if l.now.At.IsZero() {
		return nil, nil, 0, l.lost, l.more
	}
	if whole || next < l.first || next > end {
		base := l.base
		v, next = &base, l.first
	}
	return v, slices.Clone(l.changes[next-l.first:]), next, l.lost, l.more
}

// follow writes the live view as server-sent events (the HTML standard, section 9.2):
// "view", then "change" after "change", and "lost" while the director does not answer. A
// reader who gives the last ID gets what is new since then.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) {
	leave, ok := s.stream(w)
	if !ok {
		return
	}
	defer leave()
	defer s.live.join(r.Context())()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	out := eventWriter{w, http.NewResponseController(w), s.live.epoch}
	next, whole := out.resume(r.Header.Get("Last-Event-ID"))
	told := ""
	silence := time.NewTicker(keepAlive)
	defer silence.Stop()
	for out.flush() == nil {
		v, list, from, lost, more := s.live.after(next, whole)
		if v != nil {
			out.send("view", from, v)
			whole = false
		}
		for i := range list {
			out.send("change", from+uint64(i)+1, list[i])
		}
		if next = from + uint64(len(list)); lost != told {
			out.send("lost", next, lost)
			told = lost
		}
		if out.flush() != nil {
			return
		}
		select {
		case <-more:
		case <-silence.C:
			fmt.Fprint(w, ":\n\n")
		case <-r.Context().Done():
			return
		}
	}
}

// eventWriter writes server-sent events, each of which has to be read in time.
type eventWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	epoch   int64
}

func (w eventWriter) flush() error {
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTime))
	return w.control.Flush()
}

func (w eventWriter) send(name string, number uint64, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		return
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTime))
	fmt.Fprintf(w, "event: %s\nid: %d-%d\ndata: %s\n\n", name, w.epoch, number, text)
}

// resume reads the ID of the last event that a reader has got.
func (w eventWriter) resume(id string) (next uint64, whole bool) {
	var epoch int64
	if n, _ := fmt.Sscanf(id, "%d-%d", &epoch, &next); n != 2 || epoch != w.epoch {
		return 0, true
	}
	return next, false
}
