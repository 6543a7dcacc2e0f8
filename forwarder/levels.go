package forwarder

import (
	"log/slog"
	"net/netip"
)

// nearlyFull and relieved are how full something is, in percent, when the log says that there
// is little room left, and when it says that there is enough again.
const (
	nearlyFull = 90
	relieved   = 80
)

// levels says in the log, once, that the connection table or the local ports are nearly full,
// and once that there is room again. It belongs to one goroutine.
type levels struct {
	log   *slog.Logger
	table bool                // it was nearly full
	ports map[[16]byte]string // local addresses whose ports were, and towards which server
}

func newLevels(log *slog.Logger) *levels {
	return &levels{log: log, ports: map[[16]byte]string{}}
}

// full reports whether something is nearly full that was so or was not.
func full(was bool, used, room int) bool {
	if was {
		return used*100 >= room*relieved
	}
	return used*100 >= room*nearlyFull
}

// look is called every few seconds.
func (l *levels) look(fw *Forwarder) {
	l.lookTable(fw.conns.Len(), fw.conns.Capacity())
	l.lookPorts(fw)
}

func (l *levels) lookTable(used, room int) {
	was := l.table
	l.table = full(was, used, room)
	switch {
	case l.table && !was:
		l.log.Warn("the connection table is nearly full", "event", "conn-table-nearly-full", "connections", used, "room", room,
			"then", "new connections are dropped when it is full (drop-conn-table-full); uvs director --conns makes it larger")
	case was && !l.table:
		l.log.Info("the connection table has room again", "event", "conn-table-relieved", "connections", used, "room", room)
	}
}

func (l *levels) lookPorts(fw *Forwarder) {
	use, room := fw.locals.Fullest(), fw.locals.Size()
	for local, u := range use {
		_, was := l.ports[local]
		if was || !full(false, u.Live, room) {
			continue
		}
		server := netip.AddrPortFrom(netip.AddrFrom16(u.Server).Unmap(), u.ServerPort).String()
		l.ports[local] = server
		l.log.Warn("nearly all ports of a local address are taken towards a server", "event", "local-ports-nearly-full",
			"local", netip.AddrFrom16(local).Unmap(), "server", server, "used", u.Live, "ports", room,
			"then", "new connections to it are dropped when none is left (drop-no-local-port); give the service more local addresses")
	}
	for local, server := range l.ports {
		if u := use[local]; !full(true, u.Live, room) {
			delete(l.ports, local)
			l.log.Info("a local address has free ports again", "event", "local-ports-relieved",
				"local", netip.AddrFrom16(local).Unmap(), "server", server, "used", u.Live, "ports", room)
		}
	}
}
