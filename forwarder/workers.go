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

	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// workerGroup is the workers on the shared ports, or on the ports of one interface.
type workerGroup struct {
	link    neigh.Link // zero: all
	workers []*worker
	done    sync.WaitGroup
}

// workerGroups are the running groups by interface index; 0 is the one on the shared ports.
type workerGroups map[int]*workerGroup

// linkName names the ports of a group in messages.
func linkName(l neigh.Link) string { return cmp.Or(l.Name, "all") }

// followLinks opens ports on interfaces as they appear and closes them as they go, until
// the context ends. It retries when descriptors or memory are short. The error is that of
// the first ports, if Config.NeedPorts wants them.
func (fw *Forwarder) followLinks(ctx context.Context) error {
	all := workerGroups{}
	defer all.stop()
	var shortage shortage
	err := fw.updateLinks(all)
	if err != nil && fw.conf.NeedPorts {
		return err
	}
	shortage.update(fw, err)
	fw.warnMissingLinks()
	close(fw.ready)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-fw.neigh.LinkChanges():
		case <-shortage.retry():
		}
		shortage.update(fw, fw.updateLinks(all))
	}
}

// warnMissingLinks logs which configured interfaces are missing: otherwise a mistyped name
// would look like an interface that appears later.
func (fw *Forwarder) warnMissingLinks() {
	for _, name := range fw.conf.Interfaces {
		if fw.links.Load().named(name) == nil {
			fw.log.Warn("no such interface is up; waiting for it", "event", "interface-missing", "link", name)
		}
	}
}

// updateLinks starts and stops groups to match the present interfaces. The error is why
// some ports could not be opened.
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
	var failed error
	for index, l := range wanted {
		if have[index] != nil {
			continue
		}
		c, err := fw.start(l)
		if err == nil {
			have[index] = c
			continue
		}
		failed = errors.Join(failed, err)
		if !isTransient(err) {
			fw.log.Error("open interface", "event", "interface-not-opened", "link", linkName(l), "err", err)
		}
	}
	fw.setGroups(have)
	fw.rebuildOrLog()
	fw.logLinks(old, now)
	return failed
}

// logLinks logs the interfaces that joined, changed or left.
func (fw *Forwarder) logLinks(old, now *linkSet) {
	for i := range old.links {
		if l := &old.links[i]; l.used && now.byIndex(l.Index) == nil {
			fw.log.Info("interface left", "event", "interface-left", "link", l.Name)
		}
	}
	for i := range now.links {
		l := &now.links[i]
		was := old.byIndex(l.Index)
		if !l.used || was != nil && same(was.Link, l.Link) {
			continue
		}
		about := []any{"link", l.Name, "mac", net.HardwareAddr(l.MAC[:]).String(), "mtu", l.MTU}
		if was == nil {
			fw.log.With(about...).Info("interface joined", "event", "interface-joined")
		} else {
			fw.log.With(about...).Info("interface changed", "event", "interface-changed")
		}
	}
}

// same reports whether an interface still has what its own ports depend on.
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

// start opens the ports of an interface, or the shared ones, and starts a worker on each.
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

// stop closes the ports of all groups at once, since the kernel takes some ten milliseconds
// for each, and waits for their workers.
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

// stop stops the group of an interface that left and keeps the counts of its ports.
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
			all[portPrefix+name] += n
		}
	}
}

// isTransient reports whether an error is a shortage that may pass without our help.
func isTransient(err error) bool { return port.IsTransient(err) }

const (
	// firstRetry and lastRetry are the first and the longest delay between attempts to
	// open ports. It doubles each time.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// shortage is a lack of descriptors or memory that prevents ports from being opened.
type shortage struct {
	wait  time.Duration // until the next try; 0: there is no shortage
	since time.Time
}

// update records the result of an attempt. It logs only the beginning and the end. An error
// that will not pass is none of its own.
func (s *shortage) update(fw *Forwarder, err error) {
	short := isTransient(err)
	switch {
	case short && s.wait == 0:
		s.wait, s.since = firstRetry, time.Now()
		fw.log.Warn("ports cannot be opened for now; trying again", "event", "ports-short", "err", err)
	case short:
		s.wait = min(2*s.wait, lastRetry)
	case s.wait > 0:
		s.wait = 0
		fw.log.Info("all ports are open", "event", "ports-open", "after", time.Since(s.since).Round(time.Millisecond))
	}
}

// retry returns a channel that receives when to try again, or nil.
func (s *shortage) retry() <-chan time.Time {
	if s.wait == 0 {
		return nil
	}
	return time.After(s.wait)
}
