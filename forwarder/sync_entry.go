package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/connsync"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/sched"
)

// syncFlags are the flags of the table with their place on the wire.
var syncFlags = []struct {
	here  conntrack.Flags
	there uint32
}{
	{conntrack.Template, connsync.Template}, {conntrack.NoOutput, connsync.NoOutput}, {conntrack.Inactive, connsync.Inactive},
	{conntrack.NoClientPort, connsync.NoClientPort}, {conntrack.Synced, connsync.Synced},
}

// describe makes e what a master says about a connection or template. It reports false
// for one that another director could not go on with.
func (fw *Forwarder) describe(e *connsync.Entry, c *conntrack.Conn) bool {
	flags, m := c.Flags(), c.Method()
	*e = connsync.Entry{
		V6: !connsync.Mapped(&c.Client), Proto: c.Proto(), State: uint16(c.State()),
		ClientPort: c.ClientPort, VirtualPort: c.VirtualPort, RealPort: c.RealPort,
		Client: c.Client, Virtual: c.Virtual, Real: c.Real,
		Timeout: uint32(c.Timeout() / conntrack.TicksPerSecond),
	}
	if s := fw.Server(c.Server); s != nil {
		if s.Probes() {
			return false // of this director alone
		}
		e.Mark = s.Key.Mark
	}
	for _, f := range syncFlags {
		if flags&f.here != 0 {
			e.Flags |= f.there
		}
	}
	switch {
	case m <= sched.Bypass:
		e.Flags |= uint32(m)
	case !m.NeedsLocal(): // a method of a program's own, that no other director may have
		return false
	case flags&conntrack.Template == 0:
		e.Local, e.LocalPort = c.Local, c.LocalPort
	}
	if flags&conntrack.Template != 0 {
		e.Flags |= connsync.Inactive // as in IPVS, which takes it from the server
		if flags&conntrack.Helped != 0 {
			e.PEName, e.PEData = "sip", fw.sip.of(fw.conns.Ref(c))
		}
		return flags&conntrack.Invalid == 0
	}
	if flags&conntrack.Helped != 0 {
		fw.describeFTP(e, c)
	}
	if flags&conntrack.Renumbered != 0 {
		return fw.describeNumbers(e, c)
	}
	return true
}

// describeFTP adds by how much the director's changes shifted the numbers of the server's
// segments on a control connection of FTP.
func (fw *Forwarder) describeFTP(e *connsync.Entry, c *conntrack.Conn) {
	if c.Proto() != frame.ProtoTCP || c.VirtualPort != service.FTPPort {
		return
	}
	fw.ftp.mu.Lock()
	k := ftpControlOf(fw.conns.Notes(c))
	fw.ftp.mu.Unlock()
	if k.before|k.after != 0 {
		e.Flags |= connsync.OutSeq
		e.HasSeq, e.Out = true, connsync.Seq{Init: k.at, Delta: k.after, Previous: k.before}
	}
}

// describeNumbers adds how the numbers of a connection change.
func (fw *Forwarder) describeNumbers(e *connsync.Entry, c *conntrack.Conn) bool {
	by, a, ok := fw.conns.Numbers(c)
	h := &by.Handshake
	e.HasNumbers = true
	e.Numbers = connsync.Numbers{
		SeqOffset: by.SeqOffset, NoTimestamps: by.NoTimestamps,
		Proxied: h.Made, Cookie: h.Cookie, Stamp: h.Stamp, SACK: h.SACK, Stamped: h.Stamped, Scale: h.Scale,
		ServerSeq: a.Seq, ServerStamp: a.Stamp, ServerScale: a.Scale,
	}
	return ok
}

// synchronize lets the master know of a packet from the client, which may be reason to send
// the entry, and of the template or control connection that it depends on. In version 0
// that is considered only if the entry itself is sent (ip_vs_sync.c, ip_vs_sync_conn).
func (w *worker) synchronize(c *conntrack.Conn) {
	p, m := w.sysctl, w.sync
	packets, single := c.Packets(), c.Has(conntrack.OnePacket)
	for {
		due := false
		if !single && !(p.SyncPersistMode != 0 && w.fw.persistent(c)) {
			ref := w.fw.conns.Ref(c)
			mark, fresh := &m.marks[ref], packets == 1
			if due = syncDue(mark, fresh, c, packets, w.now, p); due {
				w.syncEntry(c, ref)
			} else if fresh {
				mark.Store(0)
			}
		}
		if c.Control == 0 || p.SyncVersion == 0 && !due {
			return
		}
		c, single = w.fw.conns.At(c.Control), false
		packets = uint32(p.SyncThreshold[0])
		if c.Has(conntrack.Template) {
			packets = c.CountPacket()
		}
	}
}

// persistent reports whether a connection is controlled by a template.
func (fw *Forwarder) persistent(c *conntrack.Conn) bool {
	for c.Control != 0 {
		if c = fw.conns.At(c.Control); c.Has(conntrack.Template) {
			return true
		}
	}
	return false
}

// syncEntry gives an entry to the master.
func (w *worker) syncEntry(c *conntrack.Conn, ref conntrack.Ref) {
	if !w.fw.describe(&w.syncing.entry, c) {
		return
	}
	version := uint8(w.sysctl.SyncVersion)
	if b := w.syncing.entry.Append(w.syncing.buf[:entryPrefix], version); len(b) > entryPrefix {
		w.syncing.ring.add(b, w.sync.portOf(ref), version)
	}
}

// follow makes the worker one of a master's, nil if none runs.
func (w *worker) follow(m *syncMaster) {
	if r := w.syncing.ring; r != nil {
		r.done.Store(true)
		w.syncing.ring = nil
	}
	if w.sync = m; m != nil {
		w.syncing.ring = m.ring()
	}
}

// syncing is what a worker has for the master that runs.
type syncing struct {
	ring  *syncRing
	entry connsync.Entry
	buf   [entryPrefix + connsync.MaxEntryLen]byte
}
