package forwarder

import (
	"context"
	"time"

	"uvs/forwarder/guard"
)

// silencer is a Guard that keeps the host silent about services while no director runs.
type silencer interface {
	Silence(endpoints []guard.Tuple, marks []guard.Match, except string) error
	Silent() bool
}

// wake wakes a goroutine.
type wake chan struct{}

func (q wake) kick() {
	select {
	case q <- struct{}{}:
	default:
	}
}

const (
	// quietPause is how long keepQuiet waits for more changes: it tells the guard of all.
	quietPause = 100 * time.Millisecond
	// quietEvery is how often it looks whether somebody has flushed the host's rules.
	quietEvery = 2 * time.Second
)

// keepQuiet tells the guard of what the host's stack is not to refuse, as that changes, until
// the context ends. What a director before this one has left stays until there is something to
// put in its place: services may come late.
func (fw *Forwarder) keepQuiet(ctx context.Context) {
	g, ok := fw.conf.Guard.(silencer)
	if !ok {
		return
	}
	every := time.NewTicker(quietEvery)
	defer every.Stop()
	said := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			if g.Silent() {
				continue
			}
		case <-fw.quiet:
			select {
			case <-ctx.Done():
				return
			case <-time.After(quietPause):
			}
		}
		said = fw.silence(g, said)
	}
}

// silence tells the guard once. It is called with what it returned before: whether the guard
// knows of anything.
func (fw *Forwarder) silence(g silencer, said bool) bool {
	fw.planLock.Lock()
	p := fw.applied
	if p == nil {
		fw.planLock.Unlock()
		return said
	}
	endpoints, marks := p.Quiet()
	fw.planLock.Unlock()
	if len(endpoints)+len(marks) == 0 && !said {
		return false
	}
	if err := g.Silence(endpoints, marks, fw.conf.HostLink); err != nil {
		fw.log.Warn("while no director runs, this host resets the clients of its virtual addresses", "event", "silence-failed", "err", err)
		return said
	}
	return true
}
