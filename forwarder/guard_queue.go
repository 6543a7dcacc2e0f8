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

// forgetHelper forgets what is kept outside the table about a connection or template
// that has ended: FTP's data connection, or a Call-ID.
func (fw *Forwarder) forgetHelper(c *conntrack.Conn) {
	switch {
	case c.Has(conntrack.Template):
		fw.sip.forget(fw.conns.Ref(c))
	case c.VirtualPort != service.FTPPort:
		fw.unguardTuple(c)
	}
}

// connGuard is a Guard that accepts single tuples besides its rules.
type connGuard interface {
	AddTuple(t guard.Tuple) error
	RemoveTuple(t guard.Tuple) error
}

// guardQueue are the changes for the guard about single connections, in order, and the
// frames that must not be sent before them: lines of FTP's control connections and
// first packets of the host's own. Each change costs a transaction with the kernel, for
// which a worker has no time.
type guardQueue struct {
	mu     sync.Mutex
	steps  []guardStep
	taken  []guardStep // being carried out; those that are done have no frame
	frames int
	wake   chan struct{}
}

// guardStep is one step: change the guard, or send a frame.
type guardStep struct {
	change func() error
	frame  *frame.Frame
}

// guardQueueFrames is how many frames may wait for the guard. The sender retransmits one that
// is too many.
const guardQueueFrames = 1024

func (h *guardQueue) put(s guardStep) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.frame != nil {
		if h.frames == guardQueueFrames {
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

// guardQueueSteps is how many steps may wait before no more data connections are guarded:
// a client can announce them faster than the kernel takes changes.
const guardQueueSteps = 16384

func (h *guardQueue) long() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.steps) >= guardQueueSteps
}

func (h *guardQueue) take() []guardStep {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = h.steps
	h.steps, h.frames = nil, 0
	return h.taken
}

// sent notes that the frame of a step was sent.
func (h *guardQueue) sent(s *guardStep) {
	h.mu.Lock()
	s.frame = nil
	h.mu.Unlock()
}

// waiting returns how many frames of an account wait.
func (h *guardQueue) waiting(account uint16) (n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, steps := range [][]guardStep{h.taken, h.steps} {
		for _, s := range steps {
			if s.frame != nil && s.frame.Account == account {
				n += uint64(s.frame.Counts)
			}
		}
	}
	return n
}

// runGuardQueue carries out what is added to the queue until the context ends.
func (fw *Forwarder) runGuardQueue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-fw.guardQueue.wake:
		}
		steps := fw.guardQueue.take()
		for i := range steps {
			s := &steps[i]
			if s.frame != nil {
				fw.Emit([]frame.Frame{*s.frame})
				fw.guardQueue.sent(s)
			} else if err := s.change(); err != nil {
				fw.log.Error("guard a connection", "err", err)
			}
		}
	}
}

// guardTuple keeps a data connection from the host's stack where the host has the virtual
// address itself: its ports are known only now. It reports whether the frame that
// announces them to the client has to wait for that.
func (fw *Forwarder) guardTuple(c *conntrack.Conn) bool {
	g, ok := fw.conf.Guard.(connGuard)
	t := tupleOf(c)
	return ok && !fw.guardQueue.long() && fw.guardQueue.put(guardStep{change: func() error { return g.AddTuple(t) }})
}

// unguardTuple undoes guardTuple, if it was done.
func (fw *Forwarder) unguardTuple(c *conntrack.Conn) {
	if g, ok := fw.conf.Guard.(connGuard); ok {
		t := tupleOf(c)
		fw.guardQueue.put(guardStep{change: func() error { return g.RemoveTuple(t) }})
	}
}

// emitAfterGuard is emit for a frame that goes out when the guard knows of the
// connection it begins or, as a line of a control connection, tells of.
func (w *worker) emitAfterGuard(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	if !hop.Resolved || f.Pieces != nil || f.SegmentLen() > hop.MTU {
		return w.emit(f, hop) // it waits for a MAC address, or is no ordinary segment
	}
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	if w.rec != nil {
		w.rec.emitted(w, f, hop)
	}
	w.account.wait(f)
	kept := f.Copy()
	kept.Egress = hop.Link
	if !w.fw.guardQueue.put(guardStep{frame: &kept}) {
		w.account.unwait(f)
		return frame.DropNoMemory
	}
	return frame.Queued
}

func tupleOf(c *conntrack.Conn) guard.Tuple {
	return guard.Tuple{Proto: c.Proto(), Addr: c.VirtualAddr().Addr(), Port: c.VirtualPort}
}
