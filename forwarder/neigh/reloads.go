package neigh

import "time"

// reloads says which parts of the kernel's state are to be read, and when. It
// belongs to Run.
//
// Links and addresses come in bursts, so a complete reading waits for the end of the
// burst, and IPv4 routes that disappear with a link or an address do so without notice
// (fib_table_flush). Routes and rules decide about packets that may follow immediately:
// they are read as soon as a change is reported.
type reloads struct {
	all        time.Time // when to read links, addresses, routes and rules; zero: not
	routes     time.Time // when to read routes and rules; zero: not
	neighbours bool      // read the neighbour table with all

	allNext    time.Time // all is not read before
	routesNext time.Time // routes are not read before
}

const (
	minAllPause   = 5 * time.Millisecond
	minRoutePause = 2 * time.Millisecond // with the reading itself, a change is known within 5 ms
)

// add applies an event reported now.
func (r *reloads) add(e event, now time.Time) {
	if r.all.IsZero() && (e.reload || e.resync) {
		r.all = now.Add(minAllPause)
		if r.all.Before(r.allNext) {
			r.all = r.allNext
		}
	}
	if r.routes.IsZero() && e.reroute {
		r.routes = now
		if now.Before(r.routesNext) {
			r.routes = r.routesNext
		}
	}
	r.neighbours = r.neighbours || e.resync
}

// next returns when something is to be read, or the zero Time.
func (r *reloads) next() time.Time { return earlier(r.all, r.routes) }

func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// read reads what is due and retries a second later what failed. Readings never take up
// most of the time: the pause between them grows with their cost.
func (t *Table) read(r *reloads) {
	switch {
	case due(r.all, t.now):
		err := t.reload()
		if err == nil && r.neighbours {
			err = t.resync()
		}
		if r.all = t.retryAt(err); err == nil {
			r.routes, r.neighbours = time.Time{}, false
			r.allNext = time.Now().Add(2 * t.view.Load().took)
		}
	case due(r.routes, t.now):
		r.routes = t.retryAt(t.reroute())
		r.routesNext = time.Now().Add(max(minRoutePause, 2*t.view.Load().took))
	}
}

// retryAt returns when to repeat a reading that ended with err, the zero Time
// if it need not be.
func (t *Table) retryAt(err error) time.Time {
	if err == nil {
		return time.Time{}
	}
	t.cfg.Log.Warn("reading the kernel's network state", "err", err)
	return t.now.Add(time.Second)
}
