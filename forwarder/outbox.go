package forwarder

import (
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
)

// outboxFrames is how many frames an outbox collects for one interface before
// it sends them.
const outboxFrames = 128

// outbox collects the frames of a batch by the ports that send them, so that each
// costs one call of Send. It belongs to one worker.
type outbox struct {
	driver Driver
	own    int  // what the worker's own port sends by, as attached.ports says; -1: nothing
	port   Port // the worker's own
	ways   []way
	lost   uint64 // frames the kernel refused, since the last flush
}

// way is a way out of an outbox.
type way struct {
	ports  int // see attached.ports
	port   Port
	frames []frame.Frame
}

// add puts a frame into the outbox of the interface with index f.Egress. It
// reports false if that interface is gone.
func (o *outbox) add(f *frame.Frame, links *linkSet) bool {
	l := links.byIndex(f.Egress)
	if l == nil {
		return false
	}
	ports := l.ports()
	for i := range o.ways {
		w := &o.ways[i]
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

// open makes a way out of an interface.
func (o *outbox) open(ports int, l *attached) bool {
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
	o.ways = append(o.ways, way{ports: ports, port: port, frames: make([]frame.Frame, 0, outboxFrames)})
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
		if w.ports == 0 || w.ports == o.own || links.byIndex(w.ports) != nil {
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
		if w.ports != o.own {
			w.port.Close()
		}
	}
	o.ways = nil
}
