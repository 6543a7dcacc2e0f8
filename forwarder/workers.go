package forwarder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// workerGroup are the workers of the ports that all interfaces share, or of those of one
// interface.
type workerGroup struct {
	link    neigh.Link // zero: all
	workers []*worker
	done    sync.WaitGroup
}

// workerGroups are those at work, by the index of their interface; 0: all.
type workerGroups map[int]*workerGroup

// linkName is what the ports of a group are called.
func linkName(l neigh.Link) string { return cmp.Or(l.Name, "all") }

// followLinks opens ports, and closes those of interfaces that go, until the
// context ends. What is short for a moment, descriptors or memory, is tried again.
func (fw *Forwarder) followLinks(ctx context.Context) {
	all := workerGroups{}
	defer all.stop()
	var shortage shortage
	shortage.update(fw, fw.updateLinks(all))
	fw.warnMissingLinks()
	close(fw.ready)
	for {
		select {
		case <-ctx.Done():
			return
		case <-fw.neigh.LinkChanges():
		case <-shortage.retry():
		}
		shortage.update(fw, fw.updateLinks(all))
	}
}

// warnMissingLinks says which of the interfaces asked for are not there: a name
// mistyped would else look like one that comes later.
func (fw *Forwarder) warnMissingLinks() {
	for _, name := range fw.conf.Interfaces {
		if fw.links.Load().named(name) == nil {
			fw.log.Warn("no such interface is up; waiting for it", "link", name)
		}
	}
}

// updateLinks makes the groups those that the present interfaces need. The error
// is the shortage that kept ports from being opened.
func (fw *Forwarder) updateLinks(have workerGroups) error {
	old, now := fw.links.Load(), fw.linksOf(append(fw.neigh.Links(), loopback()...))
	fw.links.Store(now)
	wanted := map[int]neigh.Link{}
	if have[0] != nil {
		wanted[0] = neigh.Link{} // interfaces may come back
	}
	for i := range now.links {
		switch l := &now.links[i]; {
		case l.used && l.ownPorts:
			wanted[l.Index] = l.Link
		case l.used:
			wanted[0] = neigh.Link{}
		}
	}
	for index, c := range have {
		if l, ok := wanted[index]; !ok || !same(l, c.link) {
			fw.stop(c)
			delete(have, index)
		}
	}
	var shortage error
	for index, l := range wanted {
		if have[index] != nil {
			continue
		}
		c, err := fw.start(l)
		switch {
		case err == nil:
			have[index] = c
		case isTransient(err):
			shortage = err
		default:
			fw.log.Error("open interface", "link", linkName(l), "err", err)
		}
	}
	fw.setGroups(have)
	fw.rebuildOrLog()
	fw.logLinks(old, now)
	return shortage
}

// logLinks logs which interfaces joined, changed and left.
func (fw *Forwarder) logLinks(old, now *linkSet) {
	for i := range old.links {
		if l := &old.links[i]; l.used && now.byIndex(l.Index) == nil {
			fw.log.Info("interface left", "link", l.Name)
		}
	}
	for i := range now.links {
		l := &now.links[i]
		was := old.byIndex(l.Index)
		if !l.used || was != nil && same(was.Link, l.Link) {
			continue
		}
		what := "interface joined"
		if was != nil {
			what = "interface changed"
		}
		fw.log.Info(what, "link", l.Name, "mac", net.HardwareAddr(l.MAC[:]).String(), "mtu", l.MTU)
	}
}

// same reports whether nothing about an interface changed that ports of its own
// rely on.
func same(a, b neigh.Link) bool {
	return a.Name == b.Name && a.MAC == b.MAC && a.MTU == b.MTU
}

// usesLink reports whether the director works on the interface.
func (fw *Forwarder) usesLink(l neigh.Link) bool {
	if l.Loopback {
		return false
	}
	return len(fw.conf.Interfaces) == 0 || slices.Contains(fw.conf.Interfaces, l.Name)
}

// start opens the ports of an interface, or those of all, and starts a worker on
// each.
func (fw *Forwarder) start(l neigh.Link) (*workerGroup, error) {
	n := fw.conf.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	c := &workerGroup{link: l}
	filter, err := fw.filter(kindOf(l))
	if err != nil {
		return nil, err
	}
	ports, err := fw.conf.Driver.Open(l, n, filter)
	if err != nil {
		return nil, fmt.Errorf("forwarder: open %s: %w", linkName(l), err)
	}
	for queue, p := range ports {
		c.workers = append(c.workers, fw.newWorker(l, queue, p))
	}
	for _, w := range c.workers {
		c.done.Go(w.run)
	}
	fw.log.Debug("ports opened", "link", linkName(l), "workers", len(c.workers))
	return c, nil
}

// stop closes the ports of all groups, which takes the kernel some ten
// milliseconds each, and waits until their workers have ended.
func (all workerGroups) stop() {
	var closing sync.WaitGroup
	for _, c := range all {
		closing.Go(c.stop)
	}
	closing.Wait()
}

func (c *workerGroup) stop() {
	for _, w := range c.workers {
		c.done.Go(func() { w.port.Close() })
	}
	c.done.Wait()
}

// stop stops a group whose interface left and keeps what its ports counted.
func (fw *Forwarder) stop(c *workerGroup) {
	c.stop()
	fw.mu.Lock()
	defer fw.mu.Unlock()
	for _, w := range c.workers {
		fw.accounts.close(w.account)
	}
	fw.queue = slices.DeleteFunc(fw.queue, func(q namedPort) bool {
		if !slices.ContainsFunc(c.workers, func(w *worker) bool { return w.port == q.port }) {
			return false
		}
		q.count(fw.counted)
		return true
	})
}

// setGroups publishes the ports for filter changes and counters.
func (fw *Forwarder) setGroups(all workerGroups) {
	var ports []namedPort
	for _, c := range all {
		for q, w := range c.workers {
			ports = append(ports, namedPort{link: linkName(c.link), kind: kindOf(c.link), queue: q, port: w.port})
		}
	}
	fw.mu.Lock()
	fw.queue = ports
	fw.mu.Unlock()
}

// portKind says which filter a port has.
type portKind uint8

const (
	shared   portKind = iota // that of all interfaces
	own                      // that of one
	loopOnly                 // that of the loopback interface
)

func kindOf(l neigh.Link) portKind {
	switch {
	case l.Index == 0:
		return shared
	case l.Loopback:
		return loopOnly
	}
	return own
}

type namedPort struct {
	link  string
	kind  portKind
	queue int
	port  port.Port
}

// count adds what the port counted.
func (q *namedPort) count(all map[string]uint64) {
	if p, ok := q.port.(port.Counter); ok {
		for name, n := range p.Counters() {
			all["port-"+name] += n
		}
	}
}

// isTransient reports whether an error is a shortage that may pass by itself.
func isTransient(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) ||
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS)
}

const (
	// firstRetry and lastRetry bound the time between two tries to open what could
	// not be opened for a shortage. It doubles.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// shortage is a lack of descriptors or memory that keeps ports from being opened.
type shortage struct {
	wait  time.Duration // until the next try; 0: there is no shortage
	since time.Time
}

// update takes the result of a try. Only the beginning and the end are logged.
func (s *shortage) update(fw *Forwarder, err error) {
	switch {
	case err != nil && s.wait == 0:
		s.wait, s.since = firstRetry, time.Now()
		fw.log.Warn("ports cannot be opened for now; trying again", "err", err)
	case err != nil:
		s.wait = min(2*s.wait, lastRetry)
	case s.wait > 0:
		s.wait = 0
		fw.log.Info("all ports are open", "after", time.Since(s.since).Round(time.Millisecond))
	}
}

// retry returns a channel that says when to try again, or one that never does.
func (s *shortage) retry() <-chan time.Time {
	if s.wait == 0 {
		return nil
	}
	return time.After(s.wait)
}
