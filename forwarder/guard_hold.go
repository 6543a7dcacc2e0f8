package forwarder

import (
	"context"
	"sync"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
)

// forgetHelped forgets what is kept outside the table about a connection or template
// that has ended: FTP's, or a Call-ID.
func (fw *Forwarder) forgetHelped(c *conntrack.Conn) {
	switch {
	case c.Has(conntrack.Template):
		fw.sip.forget(fw.conns.Ref(c))
	case c.VirtualPort == service.FTPPort:
		fw.ftp.forget(fw.conns.Ref(c))
	default:
		fw.release(c)
	}
}

// holder is a Guard that accepts single tuples besides its rules.
type holder interface {
	Hold(t guard.Tuple) error
	Release(t guard.Tuple) error
}

// holds are the changes for the guard about single connections, in order, and the
// frames that must not be sent before them: lines of FTP's control connections and
// first packets of the host's own. Each change costs a transaction with the kernel, for
// which a worker has no time.
type holds struct {
	mu     sync.Mutex
	steps  []holdStep
	frames int
	wake   chan struct{}
}

// holdStep is one step: change the guard, or send a frame.
type holdStep struct {
	tell  func() error
	frame *frame.Frame
}

// heldFrames is how many frames may wait for the guard. The sender retransmits one that
// is too many.
const heldFrames = 1024

func (h *holds) put(s holdStep) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.frame != nil {
		if h.frames == heldFrames {
			return false
		}
		h.frames++
	}
	h.steps = append(h.steps, s)
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return true
}

func (h *holds) take() []holdStep {
	h.mu.Lock()
	defer h.mu.Unlock()
	steps := h.steps
	h.steps, h.frames = nil, 0
	return steps
}

// tellGuard carries out what is added to holds until the context ends.
func (fw *Forwarder) tellGuard(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-fw.holds.wake:
		}
		for _, s := range fw.holds.take() {
			if s.frame != nil {
				fw.Emit([]frame.Frame{*s.frame})
			} else if err := s.tell(); err != nil {
				fw.log.Error("guard a connection", "err", err)
			}
		}
	}
}

// hold keeps a data connection from the host's stack where the host has the virtual
// address itself: its ports are known only now. It reports whether the frame that
// announces them to the client has to wait for that.
func (fw *Forwarder) hold(c *conntrack.Conn) bool {
	g, ok := fw.conf.Guard.(holder)
	t := guardTuple(c)
	return ok && fw.holds.put(holdStep{tell: func() error { return g.Hold(t) }})
}

// release undoes hold, if it was done.
func (fw *Forwarder) release(c *conntrack.Conn) {
	if g, ok := fw.conf.Guard.(holder); ok {
		t := guardTuple(c)
		fw.holds.put(holdStep{tell: func() error { return g.Release(t) }})
	}
}

// emitHeld is emit for a frame that goes out when the guard knows of the
// connection it begins or, as a line of a control connection, tells of.
func (w *worker) emitHeld(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	if !hop.Resolved || f.Pieces != nil || f.SegmentLen() > hop.MTU {
		return w.emit(f, hop) // it waits for a MAC address, or is no ordinary segment
	}
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	if w.rec != nil {
		w.rec.emitted(f, hop, w.links)
	}
	kept := f.Copy()
	kept.Egress = hop.Link
	if !w.fw.holds.put(holdStep{frame: &kept}) {
		return frame.DropNoMemory
	}
	return frame.Forward
}

func guardTuple(c *conntrack.Conn) guard.Tuple {
	return guard.Tuple{Proto: c.Proto(), Addr: c.VirtualAddr().Addr(), Port: c.VirtualPort}
}
