package forwarder

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"uvs/conntrack"
	"uvs/forwarder/cookie"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
)

// openTable makes the connection table, and sets the clock that goes with it.
func (fw *Forwarder) openTable() (err error) {
	c := &fw.conf
	if fw.conns, err = fw.newTable(); err != nil {
		return fmt.Errorf("forwarder: connection table: %w", err)
	}
	if c.Memory != nil && c.State == nil {
		if c.Clock == nil {
			c.Clock = monotonic
		}
		fw.started = time.Now().Add(fw.conns.Header().Base - c.Clock())
	}
	key := fw.conns.Header().Key
	fw.sip.init(key, c.State)
	fw.cookies = cookie.New(key, cookieGeneration(fw.now()))
	return nil
}

// monotonic returns the time of CLOCK_MONOTONIC.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // every Linux has it
	return time.Duration(ts.Nano())
}

// Inherited reports whether the Memory of the Config holds connections of a
// director that was there before: then Adopt comes before Run.
func (fw *Forwarder) Inherited() bool { return fw.conns.Inherited() }

// Adopt takes over the connections in the Memory of the Config. Call it when the
// servers are configured, those that were removed included: connections of others
// are not kept. It fails if the memory is damaged, with an error that wraps
// conntrack.ErrDamaged; the director is of no use then.
func (fw *Forwarder) Adopt() (conntrack.Inventory, error) {
	a := adoption{fw: fw}
	inv, err := fw.conns.Adopt(conntrack.Adoption{Now: fw.now(), Known: a.known, Ports: fw.locals})
	if err != nil {
		return inv, fmt.Errorf("forwarder: %w", err)
	}
	for id, load := range inv.Servers {
		if s := fw.Server(id); s != nil {
			s.AddReplyConns(load.Translated)
			s.Count(load.Active, load.Inactive, load.Persistent)
		}
	}
	fw.conns.Sweep(fw.now(), math.MaxInt)
	if a.guarded.Load() {
		fw.guardAdopted()
	}
	if a.opening.Load() {
		fw.adoptOpenings()
	}
	return inv, nil
}

// adoption is an Adopt under way.
type adoption struct {
	fw      *Forwarder
	guarded atomic.Bool // the guard has to know of single connections
	opening atomic.Bool // servers have not answered the SYN proxy
}

// known reports whether a connection's server is there, under the number that it
// had. It notes what else follows from the connection.
func (a *adoption) known(c *conntrack.Conn) bool {
	s := a.fw.Server(c.Server)
	if s == nil || s.Addr.Addr().As16() != c.Real {
		return false
	}
	if c.Has(conntrack.Template) {
		return true
	}
	if c.Method().Masquerades() && !s.WasMasq.Load() {
		s.WasMasq.Store(true)
	}
	if s.Key.Port == service.FTPPort && c.VirtualPort != service.FTPPort && !s.FTPData.Load() {
		s.FTPData.Store(true)
	}
	if (c.Has(conntrack.FromHost) || isFTPData(c)) && !a.guarded.Load() {
		a.guarded.Store(true)
	}
	if _, ok := a.fw.conns.Opening(c); ok && !a.opening.Load() {
		a.opening.Store(true)
	}
	return true
}

// isFTPData reports whether a connection was announced on a control connection of
// FTP.
func isFTPData(c *conntrack.Conn) bool {
	return c.Flags()&(conntrack.Helped|conntrack.Template) == conntrack.Helped &&
		c.Proto() == frame.ProtoTCP && c.VirtualPort != service.FTPPort
}

// guardAdopted tells the guard of the connections that it has to know.
func (fw *Forwarder) guardAdopted() {
	r := fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool {
		if isFTPData(c) {
			fw.guardTuple(c)
		}
		if c.Has(conntrack.FromHost) && !c.Has(conntrack.NoClientPort) {
			fw.guardReply(c)
		}
		return true
	})
}

// adoptOpenings has the SYN proxy wait for the servers of connections that it had begun.
func (fw *Forwarder) adoptOpenings() {
	r := fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool {
		if h, ok := fw.conns.Opening(c); ok {
			fw.openings.adopt(fw.conns.Ref(c), c.RequestFlow(), h.Cookie, fw.now())
		}
		return true
	})
}

// logShortage says once that there is no memory for more connections, and once that
// there is again. It takes and returns whether there was none.
func (fw *Forwarder) logShortage(was bool) bool {
	short := fw.conns.Short()
	switch {
	case short && !was:
		fw.log.Error("no memory for more connections", "event", "conn-memory-short", "have", fw.conns.Len(),
			"then", "new ones are dropped (drop-conn-table-full) until there is room where the state is kept")
	case was && !short:
		fw.log.Info("there is memory for connections again", "event", "conn-memory-back", "have", fw.conns.Len())
	}
	return short
}
