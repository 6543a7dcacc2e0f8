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
	lost   uint64 // frames the kernel refused, since the last flush
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

// flush sends everything and returns how many frames the kernel refused.
func (o *txQueue) flush() uint64 {
	for i := range o.ports {
		if len(o.ports[i].frames) > 0 {
			o.send(&o.ports[i])
		}
	}
	lost := o.lost
	o.lost = 0
	return lost
}

func (o *txQueue) send(w *txPort) {
	n, _ := w.port.Send(w.frames)
	o.lost += uint64(len(w.frames) - n)
	w.frames = w.frames[:0]
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
