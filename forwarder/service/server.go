package service

import (
	"net/netip"
	"sync/atomic"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/modes"
	"uvs/sched"
)

// Server is one real server of one service. Connections refer to it by its
// number, schedulers by its RealServer; both stay the same while it is removed
// and added again. All methods are safe for concurrent use.
type Server struct {
	*sched.RealServer
	Key      config.Key // of the service, in normal form
	Counters *Counters

	options        atomic.Pointer[config.Server]
	service        atomic.Pointer[serviceRef] // nil while the server is removed
	refs           atomic.Int32
	replyConns     atomic.Int32 // connections whose replies come back to the director
	WasMasq        atomic.Bool  // it was by NAT at some time since it was last added
	RepliesGuarded atomic.Bool  // the last plan keeps its replies from the host
	FTPData        atomic.Bool  // it received FTP's data connections, on their own ports
	held           atomic.Bool  // by a check
	Path           PathMTU      // by TUN and FULLNAT
	Silence        Silence

	Seq         uint64                        // order of addition among servers and services; set before publication
	Policy      atomic.Pointer[config.Policy] // of its service, also when that is removed
	NeedsPolicy atomic.Bool                   // something other than forwarding may be due
	drainEnd    atomic.Uint32                 // tick from which its connections end; 0: none is set
	drainStart  conntrack.Tick                // since when it drains, 0: it does not; guarded by Table.mu
	locals      []netip.Addr                  // of its service when it was removed; guarded by Table.mu

	lastService *serviceRef            // where it was last configured; guarded by Table.mu
	removedIn   uint64                 // number of the change that removed it with its service; guarded by Table.mu
	dirty       bool                   // its record is out of date; guarded by Table.mu
	idle        time.Time              // since when it is removed and unused; guarded by Table.mu
	probe       atomic.Pointer[Server] // of probes to it, nil: there were none; set under Table.mu
	probes      bool                   // it is that of another; set before publication
	Refusals    Refusals
	told        config.Refusals // by NewRefusals; guarded by Table.mu

	modes [sched.Methods]atomic.Pointer[madeMode] // by method, created when first needed; away from what every packet reads
}

// serviceRef is what a service keeps across edits and shares with its servers.
type serviceRef struct {
	*Counters
	Offer  Offer
	number uint32 // of its record
	total  *Counters
	sched  atomic.Pointer[sched.Scheduler]

	latest *Service // nil: it was removed; guarded by Table.mu
	dirty  bool     // its record is out of date; guarded by Table.mu
}

func (h *serviceRef) scheduler() sched.Scheduler { return *h.sched.Load() }

// Options returns the server as it was last configured: method, tunnel, weight. The
// value must not be changed. A connection keeps the method it was created with and
// takes tunnel options from here, as in IPVS.
func (s *Server) Options() *config.Server { return s.options.Load() }

// Method returns the forwarding method for new connections.
func (s *Server) Method() sched.Method { return s.options.Load().Method }

// Available reports whether the server is configured. Packets of connections to a
// server that is not are dropped until it comes back.
func (s *Server) Available() bool { return s.service.Load() != nil }

// Add counts traffic of connections with this server, for it, its service and
// the director; while the server is removed nothing is counted, as in IPVS
// (ip_vs_core.c, ip_vs_in_stats).
func (s *Server) Add(t Traffic) {
	h := s.service.Load()
	if h == nil {
		return
	}
	s.Counters.Add(t)
	h.Add(t)
	h.total.Add(t)
}

// Count changes the numbers of active, inactive and template connections and
// tells the scheduler.
func (s *Server) Count(active, inactive, persistent int32) {
	if s.RealServer.AddCounts(active, inactive, persistent) {
		s.noteOverload()
	}
	if h := s.service.Load(); h != nil {
		h.scheduler().Count(s.RealServer)
	}
}

// noteOverload puts the overload state where the next process finds it: it depends on
// what was before, not on the counts alone.
func (s *Server) noteOverload() {
	var on uint64
	if s.Overloaded() {
		on = 1
	}
	atomic.StoreUint64(&s.Counters.at[slotOverload], on)
}

// RefMethod returns the method for a new connection, and counts the connection as one with
// that method. A concurrent change of method is seen either here or by the plan that
// follows it, so the replies of the connection are never missed.
func (s *Server) RefMethod() sched.Method {
	m := s.Method()
	if !m.Translates() {
		return m
	}
	s.replyConns.Add(1)
	if m = s.Method(); !m.Translates() {
		s.replyConns.Add(-1)
	}
	return m
}

// UnrefMethod undoes RefMethod for a connection that has ended or never began.
func (s *Server) UnrefMethod(m sched.Method) {
	if m.Translates() {
		s.replyConns.Add(-1)
	}
}

// AddReplyConns counts n more connections whose replies come back to the director,
// whatever the server's method for new ones.
func (s *Server) AddReplyConns(n int32) { s.replyConns.Add(n) }

// HasReplies reports whether replies of the server come back to the director: those of new
// connections by its method, those of existing connections by theirs.
func (s *Server) HasReplies() bool {
	return s.replyConns.Load() > 0 || s.Method().Translates() && (s.Available() || !s.unused())
}

// setOptions replaces the options that say how the server is reached.
func (s *Server) setOptions(c *config.Server) {
	s.options.Store(c)
	if p := s.probe.Load(); p != nil {
		p.options.Store(c)
	}
	if c.Method.Masquerades() {
		s.WasMasq.Store(true)
	}
}

// Ref keeps the server's number from being forgotten until Unref, in addition to the
// connections it counts.
func (s *Server) Ref() { s.refs.Add(1) }

// Unref undoes one Ref.
func (s *Server) Unref() { s.refs.Add(-1) }

// unused reports whether nothing refers to the server any longer.
func (s *Server) unused() bool {
	p := s.probe.Load()
	return s.refs.Load() == 0 && s.Active() == 0 && s.Inactive() == 0 && s.Persistent() == 0 && (p == nil || p.unused())
}

func (s *Server) state(now conntrack.Tick) config.ServerState {
	return config.ServerState{
		Server:     *s.Options(),
		ID:         s.ID,
		Active:     uint32(s.Active()),
		Inactive:   uint32(s.Inactive()),
		Persistent: uint32(s.Persistent()),
		Overloaded: s.Overloaded(),
		Held:       s.Held(),
		Refusals:   s.Refusals.Load(),
		DrainLeft:  s.drainLeft(now),
		Stats:      s.Counters.Stats(),
	}
}

// numbers finds servers by their stable number. Reads take no lock; everything else is
// guarded by Table.mu.
type numbers struct {
	table atomic.Pointer[[]atomic.Pointer[Server]]
	used  sched.ID   // the highest number ever assigned
	free  []sched.ID // released numbers, the oldest first
}

// server returns the server with the number id, even if it was removed, or nil.
func (n *numbers) server(id sched.ID) *Server {
	table := n.table.Load()
	if table == nil || int(id) >= len(*table) {
		return nil
	}
	return (*table)[id].Load()
}

// next returns a number for a new server.
func (n *numbers) next() sched.ID {
	if len(n.free) > 0 {
		id := n.free[0]
		n.free = n.free[1:]
		return id
	}
	n.used++
	return n.used
}

func (n *numbers) put(s *Server) {
	table := n.table.Load()
	if table == nil || int(s.ID) >= len(*table) {
		table = n.grow(table)
	}
	(*table)[s.ID].Store(s)
}

func (n *numbers) grow(old *[]atomic.Pointer[Server]) *[]atomic.Pointer[Server] {
	table := make([]atomic.Pointer[Server], 2*(n.used+32))
	if old != nil {
		for i := range *old {
			table[i].Store((*old)[i].Load())
		}
	}
	n.table.Store(&table)
	return &table
}

func (n *numbers) forget(id sched.ID) {
	(*n.table.Load())[id].Store(nil)
	n.free = append(n.free, id)
}

// serverKey identifies a server within the director, whether it is configured or
// removed: IPVS finds a removed one again by the service's protocol, address and port,
// or mark, and its own address (ip_vs_ctl.c, ip_vs_trash_get_dest).
type serverKey struct {
	service config.Key
	addr    netip.AddrPort
}

// Mode returns the mode by which a method sends packets to the server, nil if it
// cannot. It is the same for all workers while the target does not change: the outer
// packets of a tunnel take their identification from one counter.
func (s *Server) Mode(set *modes.Set, m sched.Method, t modes.Target) modes.Mode {
	last := &s.modes[m%sched.Methods]
	if made := last.Load(); made != nil && made.target == t {
		return made.mode
	}
	made := &madeMode{t, set.To(m, t)}
	last.Store(made)
	return made.mode
}

// madeMode is a mode with the target it was created for.
type madeMode struct {
	target modes.Target
	mode   modes.Mode
}
