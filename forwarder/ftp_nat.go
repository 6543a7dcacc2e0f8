package forwarder

import (
	"net/netip"
	"sync"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/ftp"
	"uvs/forwarder/service"
	"uvs/sched"
)

// ftpControls guards what is known about the control connections of FTP by NAT, which
// is in the connection table: whether the client asked for a passive data connection,
// and by how much the director's changes to the server's replies shifted the sequence
// numbers. There are few, with few packets, so one lock is enough.
type ftpControls struct{ mu sync.Mutex }

// ftpControl is one of them. before and after are what is added to the server's
// sequence numbers up to at and beyond it.
type ftpControl struct {
	asked         ftp.Mode
	last          ftp.Mode // of the last answer that was translated
	answer        uint32   // sequence number where that answer begins
	at            uint32
	before, after uint32
}

// ftpControlOf reads what the table has about a control connection.
func ftpControlOf(n *[5]uint32) *ftpControl {
	return &ftpControl{ftp.Mode(n[0]), ftp.Mode(n[0] >> 8), n[1], n[2], n[3], n[4]}
}

// put writes it back.
func (k *ftpControl) put(n *[5]uint32) {
	*n = [5]uint32{uint32(k.asked) | uint32(k.last)<<8, k.answer, k.at, k.before, k.after}
}

// needsHelper reports whether the connections of a service are FTP's and need help: by NAT
// the endpoints in its lines must be translated (ip_vs_ftp.c).
func needsHelper(flow *frame.Flow, m sched.Method) bool {
	return m.Masquerades() && !m.NeedsLocal() && flow.Proto() == frame.ProtoTCP && flow.DstPort() == service.FTPPort
}

// helpRequest looks at what the client sends on a control connection, and subtracts
// what was added to the numbers it acknowledges.
func (w *worker) helpRequest(f *frame.Frame, c *conntrack.Conn) {
	if f.Info.Proto != frame.ProtoTCP || c.VirtualPort != service.FTPPort {
		return
	}
	t := &w.fw.ftp
	t.mu.Lock()
	defer t.mu.Unlock()
	n := w.fw.conns.Notes(c)
	k := ftpControlOf(n)
	defer k.put(n)
	if _, ack := f.TCPSeq(); f.Info.TCPFlags&frame.FlagACK != 0 {
		if d := k.addedBefore(ack); d != 0 {
			f.AddTCPSeq(0, -d)
		}
	}
	if c.State() != conntrack.TCPEstablished {
		return
	}
	line := payload(f)
	if mode := ftp.Asks(line, f.Is4()); mode != ftp.None {
		k.asked = mode
	}
	if e, ok := ftp.Command(line); ok && e.Addr() == c.ClientAddr().Addr() {
		f.Held = w.expectData(c, e.Port(), c.VirtualPort-1, c.RealPort-1, 0)
	}
}

// helpReply replaces the server's address in its reply to PASV by the virtual address,
// and expects the data connection. It reports false if the reply cannot be translated:
// then the client must not get it. Backups learn at once that numbers have shifted.
func (w *worker) helpReply(f *frame.Frame, c *conntrack.Conn) bool {
	ok := w.translateReply(f, c)
	if w.shifted && w.sync != nil {
		w.syncEntry(c, w.fw.conns.Ref(c))
	}
	w.shifted = false
	return ok
}

func (w *worker) translateReply(f *frame.Frame, c *conntrack.Conn) bool {
	if f.Info.Proto != frame.ProtoTCP || c.VirtualPort != service.FTPPort {
		return true
	}
	t := &w.fw.ftp
	t.mu.Lock()
	defer t.mu.Unlock()
	n := w.fw.conns.Notes(c)
	k := ftpControlOf(n)
	defer k.put(n)
	seq, _ := f.TCPSeq()
	add := k.added(seq)
	ok := c.State() != conntrack.TCPEstablished || w.translate(f, c, k, seq)
	if add != 0 {
		f.AddTCPSeq(add, 0)
	}
	return ok
}

func (w *worker) translate(f *frame.Frame, c *conntrack.Conn, k *ftpControl, seq uint32) bool {
	if k.asked == ftp.None && k.last == ftp.None {
		return true
	}
	data := payload(f)
	e, again, ok := k.find(data, seq)
	if !ok || e.Addr().IsValid() && e.Addr() != c.RealAddr().Addr() {
		return true
	}
	text := e.Text(netip.AddrPortFrom(c.VirtualAddr().Addr(), e.Port()))
	if !f.ReplaceTCP(len(f.L4())-len(data)+e.At, e.Len, text) {
		return false
	}
	if again {
		return true
	}
	k.answer = seq + uint32(e.Line)
	k.shifted(k.answer, uint32(len(text)-e.Len))
	w.shifted = len(text) != e.Len
	k.asked, k.last = ftp.None, k.asked
	f.Held = w.expectData(c, 0, e.Port(), e.Port(), conntrack.NoClientPort)
	return true
}

// find finds the answer to translate in a segment of the server: that to the
// client's question, or the last one, sent again, which IPVS lets pass with the
// server's own address in it.
func (k *ftpControl) find(data []byte, seq uint32) (e ftp.End, again, ok bool) {
	if k.asked != ftp.None {
		if e, ok = ftp.Answer(data, k.asked); ok && (k.last == ftp.None || seq+uint32(e.Line) != k.answer) {
			return e, false, true
		}
	}
	at := k.answer - seq
	if k.last == ftp.None || at >= uint32(len(data)) {
		return ftp.End{}, false, false
	}
	if e, ok = ftp.Answer(data[at:], k.last); !ok || e.Line != 0 {
		return ftp.End{}, false, false
	}
	e.Line, e.At = int(at), e.At+int(at)
	return e, true, true
}

// added returns what to add to a sequence number of the server.
func (k *ftpControl) added(seq uint32) uint32 {
	if int32(seq-k.at) > 0 {
		return k.after
	}
	return k.before
}

// addedBefore returns what was added to the number that a client acknowledges.
func (k *ftpControl) addedBefore(ack uint32) uint32 {
	if int32(ack-k.after-k.at) > 0 {
		return k.after
	}
	return k.before
}

// shifted notes that a line of the server at sequence number seq grew by d.
func (k *ftpControl) shifted(seq, d uint32) {
	if d == 0 {
		return
	}
	k.at, k.before, k.after = seq, k.after, k.after+d
}

// expectData enters the data connection that control connection c will have. Two
// servers may tell one client the same port: of connections without the client's
// port the youngest is found first, as in IPVS. held says that the line which tells
// of it has to wait for the guard.
func (w *worker) expectData(c *conntrack.Conn, client, virtual, real uint16, flags conntrack.Flags) (held bool) {
	s := w.fw.Server(c.Server)
	if s == nil {
		return false
	}
	flow := c.RequestFlow()
	flow.SetPorts(client, virtual)
	flags |= c.Flags() & conntrack.FromHost
	data := conntrack.Make(&flow, c.Method(), flags|conntrack.Helped)
	data.Server, data.Real, data.RealPort = c.Server, c.Real, real
	data.Control = w.fw.conns.Ref(c)
	data.Listen(w.rules)
	if e := w.expected(&data); e != nil {
		w.renewListen(e)
		return false
	}
	s.Count(0, 1, 0)
	s.AddReplyConns(1) // as c, which lives
	if !w.conf.Owns(c.Virtual) {
		held = w.fw.guardTuple(&data)
	}
	if kept, inserted := w.reader.Insert(&data, w.now); !inserted {
		s.Count(0, -1, 0)
		s.AddReplyConns(-1)
		w.fw.unguardTuple(&data)
		w.renewListen(kept)
	} else if flags&(conntrack.FromHost|conntrack.NoClientPort) == conntrack.FromHost {
		held = w.fw.guardReply(&data) || held
	}
	return held
}

// expected returns the data connection that was announced already.
func (w *worker) expected(data *conntrack.Conn) *conntrack.Conn {
	back := data.ReplyFlow()
	if e, isReply := w.reader.Lookup(&back); e != nil && isReply {
		return e
	}
	return nil
}

// renewListen restarts the timeout of a data connection that is still expected
// (ip_vs_proto_tcp.c, ip_vs_tcp_conn_listen).
func (w *worker) renewListen(e *conntrack.Conn) {
	if e != nil && e.State() == conntrack.TCPListen {
		w.reader.Renew(e, w.now)
	}
}

// payload returns the data of a TCP segment.
func payload(f *frame.Frame) []byte {
	l4 := f.L4()
	return l4[min(len(l4), int(l4[12]>>4)*4):]
}
