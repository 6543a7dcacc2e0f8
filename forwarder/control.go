package forwarder

import (
	"net/netip"
	"sync"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/sched"
)

// controls remembers the control connections of FTP by NAT: whether the client
// asked for a passive data connection, and by how much what the director wrote
// into the server's answers moved the sequence numbers. There are few, and few
// packets on them, so one lock will do.
type controls struct {
	mu  sync.Mutex
	all map[conntrack.Ref]*control
}

// control is one of them. before and after are what is added to the server's
// sequence numbers up to at and beyond it.
type control struct {
	asked         bool
	answered      bool
	answer        uint32 // sequence number of the last answer that was translated
	at            uint32
	before, after uint32
}

func (c *controls) forget(ref conntrack.Ref) {
	c.mu.Lock()
	delete(c.all, ref)
	c.mu.Unlock()
}

func (c *controls) of(ref conntrack.Ref) *control {
	if c.all == nil {
		c.all = map[conntrack.Ref]*control{}
	}
	if c.all[ref] == nil {
		c.all[ref] = &control{}
	}
	return c.all[ref]
}

// helped reports whether the connections of a service are FTP's and need help:
// by NAT the ends in its lines must be translated (ip_vs_ftp.c).
func helped(flow *frame.Flow, m sched.Method) bool {
	return m == sched.Masq && flow.Proto() == frame.ProtoTCP && flow.DstPort() == ftpPort
}

// helpRequest looks at what the client says on a control connection, and takes
// back what was added to the numbers it acknowledges.
func (w *worker) helpRequest(f *frame.Frame, c *conntrack.Conn) {
	if f.Info.Proto != frame.ProtoTCP || c.VirtualPort != ftpPort {
		return
	}
	t := &w.fw.controls
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.of(w.fw.conns.Ref(c))
	if _, ack := f.TCPSeq(); f.Info.TCPFlags&frame.FlagACK != 0 {
		if d := k.taken(ack); d != 0 {
			f.AddTCPSeq(0, -d)
		}
	}
	if c.State() != conntrack.TCPEstablished {
		return
	}
	line := payload(f)
	if ftpAsks(line) {
		k.asked = true
	}
	if e, ok := ftpCommand(line); ok && e.Addr() == c.ClientAddr().Addr() {
		w.announce(c, e.Port(), c.VirtualPort-1, c.RealPort-1, 0)
	}
}

// helpReply has the server's answer to PASV name the virtual address in place
// of its own, and expects the data connection. It reports false if the answer
// cannot be translated: the client must not get it then.
func (w *worker) helpReply(f *frame.Frame, c *conntrack.Conn) bool {
	if f.Info.Proto != frame.ProtoTCP || c.VirtualPort != ftpPort {
		return true
	}
	t := &w.fw.controls
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.of(w.fw.conns.Ref(c))
	seq, _ := f.TCPSeq()
	add := k.added(seq)
	ok := c.State() != conntrack.TCPEstablished || w.translate(f, c, k, seq)
	if add != 0 {
		f.AddTCPSeq(add, 0)
	}
	return ok
}

func (w *worker) translate(f *frame.Frame, c *conntrack.Conn, k *control, seq uint32) bool {
	line := payload(f)
	e, ok := ftpAnswer(line)
	if !ok || !k.asked && !k.repeats(seq) || e.Addr().IsValid() && e.Addr() != c.RealAddr().Addr() {
		return true
	}
	text := e.text(netip.AddrPortFrom(c.VirtualAddr().Addr(), e.Port()))
	if !f.ReplaceTCP(len(f.L4())-len(line)+e.at, e.n, text) {
		return false
	}
	if k.repeats(seq) {
		return true
	}
	k.moved(seq, uint32(len(text)-e.n))
	k.asked, k.answered, k.answer = false, true, seq
	w.announce(c, 0, e.Port(), e.Port(), conntrack.NoClientPort)
	return true
}

// repeats reports whether a segment is the last answer, sent again. IPVS lets
// that one pass with the server's own address in it.
func (k *control) repeats(seq uint32) bool { return k.answered && seq == k.answer }

// added returns what to add to a sequence number of the server.
func (k *control) added(seq uint32) uint32 {
	if int32(seq-k.at) > 0 {
		return k.after
	}
	return k.before
}

// taken returns what was added to the number that a client acknowledges.
func (k *control) taken(ack uint32) uint32 {
	if int32(ack-k.after-k.at) > 0 {
		return k.after
	}
	return k.before
}

// moved notes that a segment of the server with sequence number seq grew by d.
func (k *control) moved(seq, d uint32) {
	if d == 0 {
		return
	}
	k.at, k.before, k.after = seq, k.after, k.after+d
}

// announce enters the data connection that control connection c will have.
func (w *worker) announce(c *conntrack.Conn, client, virtual, real uint16, flags conntrack.Flags) {
	s := w.fw.Server(c.Server)
	if s == nil {
		return
	}
	flow := c.RequestFlow()
	flow.SetPorts(client, virtual)
	data := conntrack.Make(&flow, c.Method(), flags|conntrack.Helped)
	data.Server, data.Real, data.RealPort = c.Server, c.Real, real
	data.Control = w.fw.conns.Ref(c)
	data.Listen(w.rules)
	s.Count(0, 1, 0)
	if !w.conf.owns(c.Virtual) {
		w.fw.hold(&data)
	}
	if _, inserted := w.reader.Insert(&data, w.now); !inserted {
		s.Count(0, -1, 0)
		w.fw.release(&data)
	}
}

// payload returns the data of a TCP segment.
func payload(f *frame.Frame) []byte {
	l4 := f.L4()
	return l4[min(len(l4), int(l4[12]>>4)*4):]
}
