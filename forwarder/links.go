package forwarder

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"

	"uvs/forwarder/neigh"
)

// crew are the workers of one interface.
type crew struct {
	link    neigh.Link
	workers []*worker
	done    sync.WaitGroup
}

// followLinks opens ports on interfaces that appear and closes those of
// interfaces that go, until the context ends. An interface whose address or MTU
// changed is reopened, since a worker knows its interface by value.
func (fw *Forwarder) followLinks(ctx context.Context) {
	crews := map[int]*crew{}
	defer func() {
		for _, c := range crews {
			c.stop()
		}
	}()
	fw.matchLinks(crews)
	fw.missLinks()
	close(fw.ready)
	for {
		select {
		case <-ctx.Done():
			return
		case <-fw.neigh.LinkChanges():
			fw.matchLinks(crews)
		}
	}
}

// missLinks says which of the interfaces asked for are not there: a name
// mistyped would else look like one that comes later.
func (fw *Forwarder) missLinks() {
	for _, name := range fw.conf.Interfaces {
		if !slices.ContainsFunc(fw.links.Load().links, func(l neigh.Link) bool { return l.Name == name }) {
			fw.log.Warn("no such Ethernet interface is up; waiting for it", "link", name)
		}
	}
}

// matchLinks makes the crews those of the present interfaces.
func (fw *Forwarder) matchLinks(crews map[int]*crew) {
	all := fw.neigh.Links()
	lo := loopback()
	fw.links.Store(&linkSet{links: append(slices.Clip(all), lo...)})
	wanted := map[int]neigh.Link{}
	if fw.leadsHost() {
		for _, l := range lo {
			wanted[l.Index] = l
		}
	}
	for _, l := range all {
		if fw.serves(l) {
			wanted[l.Index] = l
		}
	}
	for index, c := range crews {
		if l, ok := wanted[index]; !ok || !same(l, c.link) {
			c.stop()
			delete(crews, index)
			fw.log.Info("interface left", "link", c.link.Name)
		}
	}
	for index, l := range wanted {
		if crews[index] != nil {
			continue
		}
		c, err := fw.hire(l)
		if err != nil {
			fw.log.Error("open interface", "link", l.Name, "err", err)
			continue
		}
		crews[index] = c
		fw.log.Info("interface joined", "link", l.Name, "mac", net.HardwareAddr(l.MAC[:]).String(), "mtu", l.MTU, "workers", len(c.workers))
	}
	fw.setCrews(crews)
	fw.settleOrLog()
}

// same reports whether nothing about an interface changed that its workers and
// ports rely on.
func same(a, b neigh.Link) bool {
	return a.Name == b.Name && a.MAC == b.MAC && a.MTU == b.MTU
}

// serves reports whether the director works on the interface.
func (fw *Forwarder) serves(l neigh.Link) bool {
	if l.Loopback {
		return false
	}
	return len(fw.conf.Interfaces) == 0 || slices.Contains(fw.conf.Interfaces, l.Name)
}

// hire opens the ports of an interface and starts a worker on each.
func (fw *Forwarder) hire(l neigh.Link) (*crew, error) {
	n := fw.conf.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	c := &crew{link: l}
	filter, err := fw.filter(l.Loopback)
	if err != nil {
		return nil, err
	}
	ports, err := fw.conf.Driver.Open(l, n, filter)
	if err != nil {
		return nil, fmt.Errorf("forwarder: open %s: %w", l.Name, err)
	}
	for _, p := range ports {
		c.workers = append(c.workers, fw.newWorker(l, p))
	}
	for _, w := range c.workers {
		c.done.Go(w.run)
	}
	return c, nil
}

// stop closes the ports and waits until their workers have ended.
func (c *crew) stop() {
	for _, w := range c.workers {
		w.port.Close()
	}
	c.done.Wait()
}

// setCrews publishes the ports for filter changes and counters.
func (fw *Forwarder) setCrews(crews map[int]*crew) {
	var ports []namedPort
	for _, c := range crews {
		for q, w := range c.workers {
			ports = append(ports, namedPort{link: c.link.Name, host: c.link.Loopback, queue: q, port: w.port})
		}
	}
	fw.mu.Lock()
	fw.queue = ports
	fw.mu.Unlock()
}

type namedPort struct {
	link  string
	host  bool // the loopback interface
	queue int
	port  Port
}

// served returns the names of the interfaces the director works on.
func (fw *Forwarder) served() []string {
	var names []string
	for _, l := range fw.links.Load().links {
		if fw.serves(l) {
			names = append(names, l.Name)
		}
	}
	return names
}
