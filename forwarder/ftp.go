package forwarder

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/modes"
	"uvs/sched"
)

// FTP through NAT, as the kernel's ip_vs_ftp does it: connections to port 21 are
// read, the data connections they agree on are entered into the table before
// they begin, and a passive server's address is replaced by the virtual one. The
// connections concerned carry the flag Helped; no other pays for this.

// ftpControls keeps what is known of control connections beside the table. One
// lock is enough: it is taken for packets of control connections only.
type ftpControls struct {
	mu sync.Mutex
	by map[conntrack.Ref]*ftpControl
}

type ftpControl struct {
	asked modes.FTPKind // the client's last request for a passive server
	shift modes.Shift   // of what the server says
}

// of returns what is known of a control connection; the caller holds the lock.
func (t *ftpControls) of(r conntrack.Ref) *ftpControl {
	s := t.by[r]
	if s == nil {
		if t.by == nil {
			t.by = map[conntrack.Ref]*ftpControl{}
		}
		s = &ftpControl{}
		t.by[r] = s
	}
	return s
}

func (t *ftpControls) forget(r conntrack.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, r)
}

// helpable says Helped for a new connection that the FTP helper is to read.
func helpable(c *conntrack.Conn) conntrack.Flags {
	if c.VirtualPort == ftpPort && c.Proto() == frame.ProtoTCP && c.Method() == sched.Masq {
		return conntrack.Helped
	}
	return 0
}

// helpRequest reads and corrects a translated packet from the client on a
// connection with a helper.
func (w *worker) helpRequest(f *frame.Frame, c *conntrack.Conn, s *Server) {
	if c.VirtualPort != ftpPort || f.Info.Proto != frame.ProtoTCP {
		return
	}
	t := &w.fw.ftp
	t.mu.Lock()
	defer t.mu.Unlock()
	if data := ftpData(f, c); len(data) > 0 {
		switch line := modes.FTPCommand(data, f.Is4()); line.Kind {
		case modes.FTPPassive, modes.FTPExtended:
			t.of(w.fw.conns.Ref(c)).asked = line.Kind
		case modes.FTPActive:
			t.of(w.fw.conns.Ref(c)).asked = modes.FTPNone
			if line.Addr.As16() == c.Client { // no third parties (RFC 2577)
				w.expect(c, s, ends{line.Port, ftpDataPort, c.RealPort - 1}, 0)
			}
		}
	}
	if state := t.by[w.fw.conns.Ref(c)]; state != nil && state.shift.Any() {
		state.shift.Back(f)
	}
}

// helpReply does the same for a packet from the server.
func (w *worker) helpReply(f *frame.Frame, c *conntrack.Conn, s *Server) {
	if c.VirtualPort != ftpPort || f.Info.Proto != frame.ProtoTCP {
		return
	}
	t := &w.fw.ftp
	t.mu.Lock()
	defer t.mu.Unlock()
	state := t.by[w.fw.conns.Ref(c)]
	if state == nil {
		return
	}
	seq, grown := binary.BigEndian.Uint32(f.L4()[4:]), 0
	if data := ftpData(f, c); len(data) > 0 {
		if line := modes.FTPReply(data, state.asked, f.Is4()); line.Kind != modes.FTPNone {
			grown = w.announce(f, c, s, &line)
		}
	}
	if state.shift.Any() {
		state.shift.Forth(f)
	}
	if grown != 0 {
		state.shift.Grow(seq, grown)
	}
}

// ftpData returns the data of a segment of an established control connection.
func ftpData(f *frame.Frame, c *conntrack.Conn) []byte {
	l4 := f.L4()
	if c.State() != conntrack.TCPEstablished {
		return nil
	}
	return l4[min(int(l4[12]>>4)*4, len(l4)):]
}

// announce expects the data connection that a server is ready for, and writes
// the virtual address into its answer. It returns how much longer that became.
func (w *worker) announce(f *frame.Frame, c *conntrack.Conn, s *Server, line *modes.FTPLine) int {
	port, ok := w.expectPassive(c, s, line.Port)
	if !ok {
		return 0
	}
	var b [32]byte
	virtual := netip.AddrFrom16(c.Virtual).Unmap()
	text := modes.AppendFTP(b[:0], line.Kind, virtual, port)
	header := int(f.L4()[12]>>4) * 4
	if !f.SpliceTCP(header+line.Start, line.End-line.Start, text) {
		return 0
	}
	f.Pieces = nil // what came in fragments has another length now
	return len(text) - (line.End - line.Start)
}

// ends are the ports of an expected connection.
type ends struct{ client, virtual, server uint16 }

// passiveTries is how many virtual ports are tried for a data connection whose
// own is taken: two servers that gave one client the same.
const passiveTries = 16

// expectPassive expects a connection to a port of the server, by the same port
// of the service if possible, and returns that.
func (w *worker) expectPassive(c *conntrack.Conn, s *Server, port uint16) (uint16, bool) {
	for i := range uint16(passiveTries) {
		virtual := max(port+i, unprivilegedPorts)
		if n := w.expect(c, s, ends{0, virtual, port}, conntrack.NoClientPort); n != nil && n.Real == c.Real && n.RealPort == port {
			return virtual, true
		}
	}
	return 0, false
}

// expect enters a data connection of control connection c that is about to
// begin. It returns the one there is with these ends; nil if the table is full.
func (w *worker) expect(c *conntrack.Conn, s *Server, p ends, flags conntrack.Flags) *conntrack.Conn {
	flow := frame.MakeFlow(frame.ProtoTCP, &c.Client, &c.Virtual, p.client, p.virtual)
	n := conntrack.Make(&flow, c.Method(), conntrack.Helped|flags)
	n.Server, n.Service = c.Server, c.Service
	n.Real, n.RealPort = c.Real, p.server
	n.Control = w.fw.conns.Ref(c)
	n.Listen(w.rules)
	s.Count(0, 1, 0)
	if !w.conf.owns(c.Virtual) {
		w.fw.hold(&n)
	}
	kept, inserted := w.reader.Insert(&n, w.now)
	if !inserted {
		s.Count(0, -1, 0)
		w.fw.release(&n)
	}
	return kept
}

// expected gives an expected connection its client's port, which the first
// packet f of it tells.
func (w *worker) expected(f *frame.Frame) *conntrack.Conn {
	c := w.reader.Expected(&f.Flow)
	if c == nil {
		return nil
	}
	if c = w.reader.Complete(c, f.Flow.SrcPort(), w.now); c == nil {
		c, _ = w.reader.Lookup(&f.Flow) // another worker was first
	}
	return c
}

// unhelp forgets what a helper knew of a connection that has ended.
func (fw *Forwarder) unhelp(c *conntrack.Conn) {
	if c.VirtualPort == ftpPort {
		fw.ftp.forget(fw.conns.Ref(c))
		return
	}
	fw.release(c)
}

// dataPorts returns the ports that packets of a service on a port may have: with
// FTP's control connections come data connections, of any port.
func dataPorts(proto uint8, port uint16) uint16 {
	if proto == frame.ProtoTCP && port == ftpPort {
		return 0
	}
	return port
}

// holder is a Guard that takes single tuples besides its rules.
type holder interface {
	Hold(t guard.Tuple) error
	Release(t guard.Tuple) error
}

// hold keeps a data connection from the host's stack where the host has the
// virtual address itself: its ports are known only now.
func (fw *Forwarder) hold(c *conntrack.Conn) {
	if g, ok := fw.conf.Guard.(holder); ok {
		if err := g.Hold(guardTuple(c)); err != nil {
			fw.log.Error("guard an FTP data connection", "err", err)
		}
	}
}

// release undoes hold, if it was done.
func (fw *Forwarder) release(c *conntrack.Conn) {
	if g, ok := fw.conf.Guard.(holder); ok {
		if err := g.Release(guardTuple(c)); err != nil {
			fw.log.Error("release an FTP data connection", "err", err)
		}
	}
}

func guardTuple(c *conntrack.Conn) guard.Tuple {
	return guard.Tuple{Proto: c.Proto(), Addr: c.VirtualAddr().Addr(), Port: c.VirtualPort}
}
