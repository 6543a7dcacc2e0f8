package forwarder

import (
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// txQueueFrames is how many frames a queue collects for one interface before
// it sends them.
const txQueueFrames = 128

// txQueue collects the frames of a batch by the ports that send them, so that each
// costs one call of Send. It belongs to one worker.
type txQueue struct {
	driver port.Driver
	own    int       // which interfaces the worker's own port sends on, as attached.ports says; -1: none
	port   port.Port // the worker's own
	ports  []txPort
	lost   lostFrames
	sent   func(fs []frame.Frame) // is told of frames that were sent or refused; nil: nobody
}

// lostFrames are the frames that the kernel refused.
type lostFrames struct {
	received uint64 // by a worker, sent on
	made     uint64 // here
}

// txPort is a port on which frames of a queue are sent.
type txPort struct {
	ports  int // see attached.ports
	port   port.Port
	frames []frame.Frame
}

// add puts a frame into the queue of the interface with index f.Egress. It
// reports false if that interface is gone.
func (o *txQueue) add(f *frame.Frame, links *linkSet) bool {
	l := links.byIndex(f.Egress)
	if l == nil {
		return false
	}
	ports := l.ports()
	for i := range o.ports {
		w := &o.ports[i]
		if w.ports != ports {
			continue
		}
		if len(w.frames) == cap(w.frames) {
			o.send(w)
		}
		w.frames = append(w.frames, *f)
		return true
	}
	if !o.open(ports, l) {
		return false
	}
	return o.add(f, links)
}

// open opens the port on which the frames of an interface are sent.
func (o *txQueue) open(ports int, l *linkState) bool {
	port := o.port
	if ports != o.own {
		link := l.Link
		if ports == 0 {
			link = neigh.Link{}
		}
		var err error
		if port, err = o.driver.Sender(link); err != nil {
			return false
		}
	}
	o.ports = append(o.ports, txPort{ports: ports, port: port, frames: make([]frame.Frame, 0, txQueueFrames)})
	return true
}

// flush sends everything.
func (o *txQueue) flush() {
	for i := range o.ports {
		if len(o.ports[i].frames) > 0 {
			o.send(&o.ports[i])
		}
	}
}

func (o *txQueue) send(w *txPort) {
	n, _ := w.port.Send(w.frames)
	switch {
	case o.sent != nil:
		o.sent(w.frames)
	case n < len(w.frames):
		o.lost.add(w.frames)
	}
	w.frames = w.frames[:0]
}

// add counts those frames that were refused.
func (l *lostFrames) add(fs []frame.Frame) {
	for i := range fs {
		switch f := &fs[i]; {
		case !f.Refused:
		case f.Counts > 0:
			l.received += uint64(f.Counts)
		default:
			l.made++
		}
	}
}

// forget closes the ports of interfaces that are gone.
func (o *txQueue) forget(links *linkSet) {
	kept := o.ports[:0]
	for _, w := range o.ports {
		if w.ports == 0 || w.ports == o.own || links.byIndex(w.ports) != nil {
			kept = append(kept, w)
			continue
		}
		w.port.Close()
	}
	o.ports = kept
}

// close closes all ports but the worker's own.
func (o *txQueue) close() {
	for _, w := range o.ports {
		if w.ports != o.own {
			w.port.Close()
		}
	}
	o.ports = nil
}
