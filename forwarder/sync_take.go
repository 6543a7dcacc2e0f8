package forwarder

import (
	"net/netip"

	"uvs/conntrack"
	"uvs/forwarder/connsync"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/sched"
)

// syncTaker takes entries into the table as a backup of IPVS does (ip_vs_sync.c,
// ip_vs_proc_conn). It belongs to one goroutine.
type syncTaker struct {
	fw     *Forwarder
	trust  SyncTrust
	reader *conntrack.Reader

	// Constant for a datagram.
	now      conntrack.Tick
	services *service.Snapshot
	rules    *conntrack.Rules
	packets  uint32 // that every entry is said to have had

	// The servers of the services with many, by address, as of the last snapshot.
	servers map[*service.Service]map[netip.AddrPort]*service.Server
}

// manyServers is from how many servers on a service is worth a map.
const manyServers = 8

// begin loads what is constant for a datagram.
func (a *syncTaker) begin() {
	a.now, a.rules = a.fw.now(), a.fw.rules.Load()
	a.packets = uint32(a.fw.sysctl.Load().SyncThreshold[0])
	if s := a.fw.Load(); s != a.services {
		a.services, a.servers = s, map[*service.Service]map[netip.AddrPort]*service.Server{}
	}
	a.reader.Enter()
}

func (a *syncTaker) end() { a.reader.Exit() }

// take takes one entry.
func (a *syncTaker) take(e *connsync.Entry) connsync.Refusal {
	if r := checkEntry(e); r != connsync.Taken {
		return r
	}
	flow := frame.MakeFlow(e.Proto, &e.Client, &e.Virtual, e.ClientPort, e.VirtualPort)
	c, r := a.known(e, &flow)
	if r != connsync.Taken || c != nil && a.knowsBetter(c, e) {
		return r
	}
	bound := c != nil && c.Server != 0
	var svc *service.Service
	if !bound || e.Flags&connsync.Template != 0 {
		svc = a.services.Match(&flow, e.Mark)
	}
	if bound {
		a.update(c, e, a.timeout(e, svc))
		return connsync.Taken
	}
	s := a.server(svc, e)
	if s == nil && (a.trust == TrustServers || e.HasNumbers) { // unbound connections keep their numbers
		return connsync.NoServer
	}
	if c != nil {
		if s == nil {
			a.update(c, e, a.timeout(e, svc))
			return connsync.Taken
		}
		if !a.reader.Remove(c, a.now) { // its server is known now
			return connsync.Stale
		}
	}
	if e.Flags&connsync.Template != 0 {
		return a.template(e, &flow, svc, s)
	}
	return a.connection(e, &flow, svc, s)
}

// checkEntry refuses what no table may hold.
func checkEntry(e *connsync.Entry) connsync.Refusal {
	if e.V6 && (connsync.Mapped(&e.Client) || connsync.Mapped(&e.Real) || connsync.Mapped(&e.Virtual) ||
		e.LocalPort != 0 && connsync.Mapped(&e.Local)) {
		return connsync.Family
	}
	if sched.Method(e.Flags&connsync.MethodMask) > sched.Bypass {
		return connsync.Method
	}
	if e.PEName != "" && e.PEName != "sip" {
		return connsync.PE
	}
	return connsync.Taken
}

// known returns the entry that the table has, nil if it has none. One with another
// destination is over and ends; but what is told of as inactive then is that one, and
// comes late.
func (a *syncTaker) known(e *connsync.Entry, flow *frame.Flow) (*conntrack.Conn, connsync.Refusal) {
	if e.Flags&connsync.Template != 0 {
		tag := a.tag(e)
		return a.reader.LookupTagged(flow, &tag), connsync.Taken
	}
	c, isReply := a.reader.Lookup(flow)
	if isReply {
		c = nil
	}
	if c == nil && e.Flags&connsync.NoClientPort == 0 {
		if x := a.reader.Expected(flow); x != nil {
			if c = a.reader.Complete(x, e.ClientPort, a.now); c != nil {
				a.fw.sync.remember(c, c.Packets(), a.now)
			}
		}
	}
	if c == nil || sameEnd(c, e) || a.knowsBetter(c, e) {
		return c, connsync.Taken
	}
	if e.Flags&connsync.Inactive != 0 || !a.reader.Remove(c, a.now) {
		return nil, connsync.Stale
	}
	return nil, connsync.Taken
}

// knowsBetter reports whether the table's entry is not to be changed by one of a whole
// table.
func (a *syncTaker) knowsBetter(c *conntrack.Conn, e *connsync.Entry) bool {
	return e.Copy || e.Bulk && !a.fw.sync.untouched(c)
}

// sameEnd reports whether a connection goes where an entry says.
func sameEnd(c *conntrack.Conn, e *connsync.Entry) bool {
	if c.Real != e.Real || c.RealPort != e.RealPort {
		return false
	}
	return e.LocalPort == 0 || !c.Method().NeedsLocal() || c.Local == e.Local && c.LocalPort == e.LocalPort
}

// tag returns what else than its flow a template is found by.
func (a *syncTaker) tag(e *connsync.Entry) (t conntrack.Tag) {
	if e.PEData != "" {
		t = a.fw.sip.tag([]byte(e.PEData))
	}
	return t
}

// server returns the real server of an entry, nil if no service has it: by its port, or
// without one, as servers of services on all ports and by mark have none. One that takes
// the data connections of FTP has them on any port.
func (a *syncTaker) server(svc *service.Service, e *connsync.Entry) *service.Server {
	if svc == nil {
		return nil
	}
	addr := netip.AddrFrom16(e.Real).Unmap()
	first, second := e.RealPort, uint16(0)
	if e.Mark != 0 && e.Flags&connsync.MethodMask != uint32(sched.Masq) {
		first, second = 0, e.RealPort
	}
	if s := a.find(svc, netip.AddrPortFrom(addr, first)); s != nil {
		return s
	}
	if s := a.find(svc, netip.AddrPortFrom(addr, second)); s != nil {
		return s
	}
	if svc.Port == service.FTPPort && e.VirtualPort != service.FTPPort {
		for _, s := range svc.Servers {
			if s.Addr.Addr() == addr {
				return s
			}
		}
	}
	return nil
}

func (a *syncTaker) find(svc *service.Service, at netip.AddrPort) *service.Server {
	if len(svc.Servers) < manyServers {
		for _, s := range svc.Servers {
			if s.Addr == at {
				return s
			}
		}
		return nil
	}
	all := a.servers[svc]
	if all == nil {
		all = make(map[netip.AddrPort]*service.Server, len(svc.Servers))
		for _, s := range svc.Servers {
			all[s.Addr] = s
		}
		a.servers[svc] = all
	}
	return all[at]
}

// syncTemplateTime is how long a template lives of which that is not said, and whose
// service is not persistent here.
const syncTemplateTime = 180 * conntrack.TicksPerSecond

// timeout returns how long an entry lives. A sender that is trusted only with servers
// cannot make that much more than it is here.
func (a *syncTaker) timeout(e *connsync.Entry, svc *service.Service) conntrack.Tick {
	usual := conntrack.Tick(syncTemplateTime)
	if e.Flags&connsync.Template == 0 {
		usual = a.rules.Timeout(e.Proto, conntrack.State(e.State))
	}
	if e.Timeout == 0 {
		return usual
	}
	said := conntrack.Seconds(e.Timeout)
	if a.trust != TrustServers {
		return said
	}
	if svc != nil && e.Flags&connsync.Template != 0 {
		usual = max(usual, conntrack.Seconds(svc.Persistent))
	}
	return min(said, 2*usual)
}

// update makes an entry of the table what is said about it.
func (a *syncTaker) update(c *conntrack.Conn, e *connsync.Entry, timeout conntrack.Tick) {
	change := a.fw.conns.Update(c, conntrack.Report{
		State: conntrack.State(e.State), Inactive: e.Flags&connsync.Inactive != 0, Timeout: timeout, Packets: a.packets,
	}, a.now)
	a.fw.sync.remember(c, a.packets, a.now)
	if s := a.fw.Server(c.Server); s != nil && change != conntrack.Unchanged {
		active, inactive := change.Counts()
		s.Count(active, inactive, 0)
	}
	if e.HasSeq && c.Has(conntrack.Helped) && c.VirtualPort == service.FTPPort && !c.Has(conntrack.Template) {
		a.takeFTP(c, &e.Out)
	}
	if m := a.fw.sync.master.Load(); m != nil {
		m.marks[a.fw.conns.Ref(c)].Store(syncMarkOf(0, 0, conntrack.State(e.State)))
	}
}

// takeFTP takes over how the numbers of a control connection of FTP are shifted.
func (a *syncTaker) takeFTP(c *conntrack.Conn, out *connsync.Seq) {
	t := &a.fw.ftp
	t.mu.Lock()
	defer t.mu.Unlock()
	n := a.fw.conns.Notes(c)
	k := ftpControlOf(n)
	k.at, k.before, k.after = out.Init, out.Previous, out.Delta
	k.put(n)
}

// template inserts a template. Without a server it is of no use to a new connection, but
// it is listed, as in IPVS.
func (a *syncTaker) template(e *connsync.Entry, flow *frame.Flow, svc *service.Service, s *service.Server) connsync.Refusal {
	flags, m := conntrack.Template|conntrack.Synced, sched.Method(e.Flags&connsync.MethodMask)
	if e.PEData != "" {
		if flags |= conntrack.Helped; a.fw.sip.full() {
			return connsync.TableFull
		}
	}
	if s != nil {
		m = s.Method()
	}
	ct := conntrack.Make(flow, m, flags)
	ct.Local = a.tag(e)
	ct.Real, ct.RealPort = e.Real, e.RealPort
	timeout := a.timeout(e, svc)
	ct.SetTimeout(timeout)
	if s != nil {
		ct.Server = s.ID
		s.Count(0, 0, 1)
	}
	kept, inserted := a.reader.Insert(&ct, a.now)
	if !inserted && s != nil {
		s.Count(0, 0, -1)
	}
	if kept == nil {
		return connsync.TableFull
	}
	if inserted && e.PEData != "" {
		a.fw.keepCall(kept, []byte(e.PEData))
	}
	a.update(kept, e, timeout)
	return connsync.Taken
}

// connection inserts a connection.
func (a *syncTaker) connection(e *connsync.Entry, flow *frame.Flow, svc *service.Service, s *service.Server) connsync.Refusal {
	if e.LocalPort != 0 && a.trust == TrustServers && !a.mayUse(svc, e) {
		return connsync.NoLocal
	}
	m, r := a.method(e, s)
	if r != connsync.Taken {
		return r
	}
	c := conntrack.Make(flow, m, conntrack.Synced)
	if e.Flags&connsync.Inactive == 0 {
		c.ClearFlags(conntrack.Inactive)
	}
	if e.Flags&connsync.NoClientPort != 0 {
		c.SetFlags(conntrack.NoClientPort)
	}
	if needsHelper(flow, m) {
		c.SetFlags(conntrack.Helped)
	}
	c.Real, c.RealPort = e.Real, e.RealPort
	if s != nil {
		c.Server = s.ID
		if svc.Port == service.FTPPort && e.VirtualPort != service.FTPPort {
			s.FTPData.Store(true)
		}
	}
	if m.NeedsLocal() {
		if c.Local, c.LocalPort = e.Local, e.LocalPort; !a.claim(&c, svc) {
			a.unref(s, m)
			return connsync.LocalTaken
		}
	}
	timeout := a.timeout(e, svc)
	c.SetTimeout(timeout)
	return a.insert(&c, e, s, m, timeout)
}

// method returns the forwarding method of a new connection, and counts it for the server: the
// server's own, unless the entry has a local address, which goes with FULLNAT only.
func (a *syncTaker) method(e *connsync.Entry, s *service.Server) (sched.Method, connsync.Refusal) {
	local := e.LocalPort != 0
	if s == nil {
		if local {
			return sched.FullNAT, connsync.Taken
		}
		return sched.Method(e.Flags & connsync.MethodMask), connsync.Taken
	}
	m := s.RefMethod()
	switch {
	case local && !m.NeedsLocal():
		s.UnrefMethod(m)
		s.AddReplyConns(1)
		return sched.FullNAT, connsync.Taken
	case !local && m.NeedsLocal():
		s.UnrefMethod(m)
		return m, connsync.NoLocal
	}
	return m, connsync.Taken
}

func (a *syncTaker) unref(s *service.Server, m sched.Method) {
	if s != nil {
		s.UnrefMethod(m)
	}
}

// insert inserts a connection and counts it for its server.
func (a *syncTaker) insert(c *conntrack.Conn, e *connsync.Entry, s *service.Server, m sched.Method, timeout conntrack.Tick) connsync.Refusal {
	active, inactive := int32(1), int32(0)
	if c.Has(conntrack.Inactive) {
		active, inactive = 0, 1
	}
	if s != nil {
		s.Count(active, inactive, 0)
	}
	by := renumbering(&e.Numbers)
	kept, inserted := a.reader.InsertRenumbered(c, by, a.now)
	if !inserted {
		a.unref(s, m)
		if s != nil {
			s.Count(-active, -inactive, 0)
		}
		if m.NeedsLocal() {
			a.fw.locals.Release(c)
		}
	}
	if kept == nil {
		return connsync.TableFull
	}
	if inserted && by.Handshake.Made {
		a.fw.conns.Answer(kept, e.Numbers.ServerSeq, e.Numbers.ServerStamp, e.Numbers.ServerScale)
	}
	a.update(kept, e, timeout)
	return connsync.Taken
}

func renumbering(n *connsync.Numbers) conntrack.Renumber {
	by := conntrack.Renumber{SeqOffset: n.SeqOffset, NoTimestamps: n.NoTimestamps}
	if n.Proxied {
		by.Handshake = conntrack.Handshake{Made: true, Cookie: n.Cookie, Stamp: n.Stamp, SACK: n.SACK, Stamped: n.Stamped, Scale: n.Scale}
	}
	return by
}
