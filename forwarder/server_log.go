package forwarder

import (
	"log/slog"
	"sync"

	"uvs/forwarder/service"
)

// serverLines is how many lines about servers the log gets between two calls of rest.
const serverLines = 16

// serverLog bounds what the log says about servers: a program may change thousands at once.
// It is safe for concurrent use.
type serverLog struct {
	mu    sync.Mutex
	lines int // since rest was called
	left  service.ServerChanges
}

// logServers says what the administrator did with servers. What was there when the director
// began is not told one by one.
func (fw *Forwarder) logServers(c service.ServerChanges) {
	select {
	case <-fw.ready:
		fw.serverLog.say(fw.log, c)
	default:
	}
}

func (l *serverLog) say(log *slog.Logger, c service.ServerChanges) {
	l.mu.Lock()
	first := c.First[:min(len(c.First), serverLines-l.lines)]
	l.lines += len(first)
	for turn, n := range c.Count {
		l.left.Count[turn] += n
	}
	for i := range first {
		l.left.Count[first[i].Turn]--
	}
	l.mu.Unlock()
	for i := range first {
		logServer(log, &first[i])
	}
}

func logServer(log *slog.Logger, c *service.ServerChange) {
	log = log.With("service", c.Key.Name(), "server", c.Server.AddrPort().String(), "weight", c.Server.Weight)
	switch c.Turn {
	case service.ServerAdded:
		log.Info("a real server was added", "event", "server-added")
	case service.ServerGone:
		log.Info("a real server was removed", "event", "server-gone")
	case service.ServerQuiesced:
		log.Info("a real server is quiesced: it gets no new connections", "event", "server-quiesced")
	case service.ServerResumed:
		log.Info("a real server takes new connections again", "event", "server-resumed")
	}
}

// rest says how many changes had no line of their own since it was called last.
func (l *serverLog) rest(log *slog.Logger) {
	l.mu.Lock()
	n := l.left.Count
	l.left, l.lines = service.ServerChanges{}, 0
	l.mu.Unlock()
	if n == [len(n)]int{} {
		return
	}
	log.Info("more real servers were changed", "event", "servers-changed",
		"added", n[service.ServerAdded], "gone", n[service.ServerGone],
		"quiesced", n[service.ServerQuiesced], "resumed", n[service.ServerResumed])
}
