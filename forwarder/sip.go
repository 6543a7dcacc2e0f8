package forwarder

import (
	"crypto/sha256"
	"maps"
	"slices"
	"sync"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/plan"
	"uvs/forwarder/sip"
	"uvs/forwarder/state"
)

// callsMax limits the memory for Call-IDs, in bytes: enough for more than a million
// calls. Without room there are no new templates.
const callsMax = 64 << 20

// sipCalls remembers the Call-ID of each template of a service with `--pe sip`.
// Templates are found by a digest of it; the text is for listings.
type sipCalls struct {
	key   [16]byte     // kept with the connections, so that those who adopt them find templates
	state *state.State // has the texts, by the templates' numbers

	mu   sync.Mutex
	used int // bytes
	text map[conntrack.Ref]string
}

func (c *sipCalls) init(key [16]byte, st *state.State) {
	c.key, c.state = key, st
	c.text = map[conntrack.Ref]string{}
}

// tag returns the digest of a Call-ID, which nobody can foresee who does not know the
// key. Should two of 128 bits ever be equal, two calls of a client share a server.
func (c *sipCalls) tag(id []byte) conntrack.Tag {
	var b [len(c.key) + sip.MaxCallID]byte
	n := copy(b[:], c.key[:])
	n += copy(b[n:], id)
	sum := sha256.Sum256(b[:n])
	return conntrack.Tag(sum[:16])
}

// full reports whether there is no room for one more.
func (c *sipCalls) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used >= callsMax
}

// keep remembers the Call-ID of a template, if it is not known yet.
func (c *sipCalls) keep(ref conntrack.Ref, id []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.text[ref]; known {
		return
	}
	c.used += len(id)
	c.text[ref] = string(id)
	c.state.Commit(state.Change{Key: callKey(ref), Value: id})
}

func callKey(ref conntrack.Ref) state.Key { return state.Key{Kind: state.Call, Number: uint32(ref)} }

func (c *sipCalls) forget(ref conntrack.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= len(c.text[ref])
	delete(c.text, ref)
	c.state.Commit(state.Change{Key: callKey(ref)})
}

// restoreCalls finds the Call-IDs of the templates that were adopted. Their numbers are
// others if the table was converted; the digest says whose one is.
func (fw *Forwarder) restoreCalls() error {
	records, err := fw.conf.State.Records(state.Call)
	if err != nil || len(records) == 0 {
		return err
	}
	ids := map[conntrack.Tag][]byte{}
	changes := map[conntrack.Ref]state.Change{}
	for _, r := range records {
		ids[fw.sip.tag(r.Value)] = r.Value
		changes[conntrack.Ref(r.Number)] = state.Change{Key: callKey(conntrack.Ref(r.Number))}
	}
	reader := fw.conns.Reader()
	defer reader.Close()
	reader.Range(func(c *conntrack.Conn) bool {
		id := ids[c.Local]
		if !c.Has(conntrack.Template|conntrack.Helped) || id == nil {
			return true
		}
		ref := fw.conns.Ref(c)
		changes[ref] = state.Change{Key: callKey(ref), Value: id}
		fw.sip.text[ref] = string(id)
		fw.sip.used += len(id)
		return true
	})
	fw.conf.State.Commit(slices.Collect(maps.Values(changes))...)
	return nil
}

// of returns the Call-ID of a template, "" if it has none.
func (c *sipCalls) of(ref conntrack.Ref) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text[ref]
}

// newConnOut opens the connection of a datagram that a real server sends first, to the
// client at its destination. It returns nil if the service does not take it for one,
// and the verdict if there is no room for it (ip_vs_core.c, ip_vs_new_conn_out).
func (w *worker) newConnOut(f *frame.Frame, by plan.ServerFlow) (*conntrack.Conn, frame.Verdict) {
	svc, s := by.Service, w.fw.Server(by.Server.ID)
	if s == nil {
		return nil, frame.Continue
	}
	flow := f.Flow.Reverse()
	flow.SetDst(svc.Addr)
	flow.SetPorts(flow.SrcPort(), svc.Port)
	to := destination{Server: s, port: f.Flow.SrcPort()}
	if svc.Persistent != 0 {
		key, ok := w.templateKey(f, &flow, svc)
		if !ok {
			return nil, frame.Continue
		}
		ct := w.template(&key, frame.ProtoUDP, s)
		if ct == nil {
			var v frame.Verdict
			if ct, v = w.newTemplate(&key, &flow, svc, s); v != frame.Continue {
				return nil, v
			}
		}
		w.reader.Renew(ct, w.now)
		to.template = w.fw.conns.Ref(ct)
	}
	if svc.OnePacket {
		return w.oneDatagramConn(&flow, to), frame.Continue
	}
	return w.insert(f, &flow, svc, to)
}

// serverInitiated handles a datagram of a real server that belongs to no connection and
// would be routed, and reports whether it opened one.
func (w *worker) serverInitiated(f *frame.Frame) (frame.Verdict, bool) {
	by, ok := w.conf.ServerFlow(&f.Flow)
	if !ok || f.Info.TTL <= 1 {
		return 0, false
	}
	if _, v := w.routerHop(f); v != frame.Continue {
		return 0, false
	}
	c, v := w.newConnOut(f, by)
	if c == nil {
		return v, v != frame.Continue
	}
	if w.rec != nil {
		w.rec.bind(c, true)
	}
	return w.forwardReply(f, c), true
}
