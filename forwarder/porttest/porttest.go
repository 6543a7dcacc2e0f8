// Package porttest connects two ports in memory, so that a director, a mode or
// a whole path can be tested and measured without a kernel interface.
//
// Pipe returns both ends. The code under test gets one of them and treats it like any
// other port; the test uses the other one, with Send and Recv or, more conveniently,
// with Inject and Collect:
//
//	near, far := porttest.Pipe()
//	go director.Run(near)
//	far.Inject(request)     // arrives at near
//	answer := far.Wait(1)   // what near sent
//
// Frames are copied between the ends, with their Offload and VLAN facts, into buffers
// with headroom; these are reused, so that nothing is allocated once the queues have
// seen their largest load. A Port is safe for concurrent use, but the frames of a Recv
// are valid until the next Recv on that Port, as everywhere. Blocked calls wait on a
// sync.Cond, which testing/synctest counts as durably blocked.
package porttest

import (
	"net"
	"sync"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

// Capacity is how many frames one direction of a Pipe holds. Further frames are
// lost and counted, as in the ring of a real interface.
const Capacity = 4096

// Port is one end of a Pipe.
type Port struct {
	// Index is the interface index that received frames carry as Ingress. Set
	// it before the first Recv. Pipe chooses 1 and 2.
	Index int
	// MTU, if not 0, is the largest IP packet in bytes that Send accepts in an ordinary
	// frame; larger ones are refused as the kernel refuses them. Set it before the first
	// Send.
	MTU int

	in, out *queue

	mu    sync.Mutex
	stats Stats
}

var _ port.Port = (*Port)(nil)

// Stats counts what a Port has done since it was created.
type Stats struct {
	Received uint64 // frames handed out by Recv
	Sent     uint64 // frames the other end accepted, or lost because it was full or closed
	Refused  uint64 // frames longer than the MTU
	Lost     uint64 // frames for this end that found its queue full
}

// Pipe returns two connected ports: what is sent on one is received on the other.
func Pipe() (a, b *Port) {
	ab, ba := newQueue(), newQueue()
	return &Port{Index: 1, in: ba, out: ab}, &Port{Index: 2, in: ab, out: ba}
}

// Recv fills fs with frames from the other end. It blocks until there is one or
// the Port is closed, and then returns net.ErrClosed.
func (p *Port) Recv(fs []frame.Frame) (int, error) {
	n, open := p.in.take(fs, p.Index, true)
	if !open {
		return 0, net.ErrClosed
	}
	p.mu.Lock()
	p.stats.Received += uint64(n)
	p.mu.Unlock()
	return n, nil
}

// Send copies the frames to the other end, in order, and returns how many were
// not refused. It fails only if this Port is closed.
func (p *Port) Send(fs []frame.Frame) (int, error) {
	if p.in.isClosed() {
		port.Refuse(fs)
		return 0, net.ErrClosed
	}
	sent := 0
	for i := range fs {
		if p.refuses(&fs[i]) {
			fs[i].Refused = true
			continue
		}
		p.out.put(&fs[i])
		sent++
	}
	p.mu.Lock()
	p.stats.Sent += uint64(sent)
	p.stats.Refused += uint64(len(fs) - sent)
	p.mu.Unlock()
	return sent, nil
}

func (p *Port) refuses(f *frame.Frame) bool {
	return p.MTU > 0 && !f.Offload.Super() && f.Len() > p.MTU+frame.EthernetLen+4
}

// Close wakes this Port's Recv. The other end stays open; what it sends is lost.
func (p *Port) Close() error {
	p.in.close()
	return nil
}

// Stats returns the counters.
func (p *Port) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Lost = p.in.lostFrames()
	return s
}
