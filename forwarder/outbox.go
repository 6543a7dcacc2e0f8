package forwarder

import (
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
)

// outboxFrames is how many frames an outbox collects for one interface before
// it sends them.
const outboxFrames = 128

// outbox collects the frames of a batch by the interface they leave by, so that
// each interface costs one call of Send. It belongs to one worker.
type outbox struct {
	driver Driver
	own    int  // index of the worker's own interface
	port   Port // which is reached by the worker's own port
	ways   []way
	lost   uint64 // frames the kernel refused, since the last flush
}

// way is one interface of an outbox.
type way struct {
	link   int
	port   Port
	frames []frame.Frame
}

// add puts a frame into the outbox of the interface with index f.Egress. It
// reports false if that interface is gone.
func (o *outbox) add(f *frame.Frame, links *linkSet) bool {
	for i := range o.ways {
		w := &o.ways[i]
		if w.link != f.Egress {
			continue
		}
		if len(w.frames) == cap(w.frames) {
			o.send(w)
		}
		w.frames = append(w.frames, *f)
		return true
	}
	if !o.open(f.Egress, links) {
		return false
	}
	return o.add(f, links)
}

// open makes a way out of the interface with the given index.
func (o *outbox) open(index int, links *linkSet) bool {
	port := o.port
	if index != o.own {
		l, ok := links.byIndex(index)
		if !ok {
			return false
		}
		var err error
		if port, err = o.driver.Sender(l); err != nil {
			return false
		}
	}
	o.ways = append(o.ways, way{link: index, port: port, frames: make([]frame.Frame, 0, outboxFrames)})
	return true
}

// flush sends everything and returns how many frames the kernel refused.
func (o *outbox) flush() uint64 {
	for i := range o.ways {
		if len(o.ways[i].frames) > 0 {
			o.send(&o.ways[i])
		}
	}
	lost := o.lost
	o.lost = 0
	return lost
}

func (o *outbox) send(w *way) {
	n, _ := w.port.Send(w.frames)
	o.lost += uint64(len(w.frames) - n)
	w.frames = w.frames[:0]
}

// forget closes the ways out of interfaces that are gone.
func (o *outbox) forget(links *linkSet) {
	kept := o.ways[:0]
	for _, w := range o.ways {
		if _, ok := links.byIndex(w.link); ok || w.link == o.own {
			kept = append(kept, w)
			continue
		}
		w.port.Close()
	}
	o.ways = kept
}

// close closes all ways but the worker's own port.
func (o *outbox) close() {
	for _, w := range o.ways {
		if w.link != o.own {
			w.port.Close()
		}
	}
	o.ways = nil
}

// linkSet is an immutable set of interfaces.
type linkSet struct{ links []neigh.Link }

func (s *linkSet) byIndex(index int) (neigh.Link, bool) {
	for _, l := range s.links {
		if l.Index == index {
			return l, true
		}
	}
	return neigh.Link{}, false
}
