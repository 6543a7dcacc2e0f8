package director

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"uvs/forwarder/service"
	"uvs/internal/control"
	"uvs/internal/metrics"
	"uvs/internal/rules"
)

// openMetrics listens for scrapes, if the Config wants it. They wait until serve.
func (d *Director) openMetrics() error {
	c := &d.conf
	if c.Metrics == "" {
		return nil
	}
	network, address, err := metrics.Address(c.Metrics)
	if err != nil {
		return &FieldError{"Metrics", c.Metrics, "a port (of the loopback address), ADDRESS:PORT, or the path of a unix socket"}
	}
	l, err := metrics.Listen(network, address, c.Store)
	if err != nil {
		return err
	}
	d.figures = metrics.New()
	d.scraped = metrics.NewServer(d.figures, l, d.use, c.Log)
	return nil
}

// use calls f if the director does not end yet, which waits for f then.
func (d *Director) use(f func()) bool {
	if !d.using.TryRLock() {
		return false
	}
	defer d.using.RUnlock()
	f()
	return true
}

// serveMetrics answers scrapes.
func (d *Director) serveMetrics() {
	if d.scraped == nil {
		return
	}
	hash := rulesHash{of: d}
	d.figures.Of(&metrics.Source{
		Forwarder: d.Forwarder, Events: d.conf.Events, Version: d.conf.Version,
		Rules: func() (time.Time, string) { return d.rules.Loaded(), hash.now() },
	})
	go d.scraped.Serve()
}

// rulesHash is a hash of the rules in force, which is made anew when they have changed. It is
// safe for concurrent use.
type rulesHash struct {
	of *Director

	mu    sync.Mutex
	table *service.Snapshot
	marks uint64
	at    time.Time
	hash  string
}

// hashFor is how long a hash is believed: parameters may change without a sign.
const hashFor = 30 * time.Second

func (h *rulesHash) now() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	table, marks := h.of.Load(), h.of.MarkVersion()
	if h.hash != "" && table == h.table && marks == h.marks && time.Since(h.at) < hashFor {
		return h.hash
	}
	h.table, h.marks, h.at = table, marks, time.Now()
	sum := sha256.New()
	current, err := rules.Of(context.Background(), control.NewLocal(h.of))
	if err != nil || rules.Format(sum, current) != nil {
		return ""
	}
	h.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return h.hash
}
