package porttest

import (
	"slices"

	"uvs/forwarder/frame"
)

// Frame is a frame that belongs to its holder: bytes and facts.
type Frame struct {
	Bytes   []byte // starting with the Ethernet header
	Offload frame.Offload
	VLAN    uint16 // tag control information that travels beside the bytes, 0 for none
	Wire    int    // length on the wire if the receiver is to see the frame cut, else 0
}

// Inject sends ordinary frames, given as bytes, to the other end. The bytes are
// copied.
func (p *Port) Inject(frames ...[]byte) {
	for _, b := range frames {
		p.out.putBytes(b, len(b), 0, frame.Offload{})
	}
}

// InjectFrames sends frames with their facts to the other end.
func (p *Port) InjectFrames(frames ...Frame) {
	for _, f := range frames {
		p.out.putBytes(f.Bytes, max(f.Wire, len(f.Bytes)), f.VLAN, f.Offload)
	}
}

// Collect returns copies of all frames that wait at this end, and nil if there
// are none. It does not block. Frames of an earlier Recv are no longer valid.
func (p *Port) Collect() []Frame { return p.collect(Capacity, false) }

// Wait returns copies of the next n frames. It blocks until they have arrived; if the
// Port is closed first, it returns those that have.
func (p *Port) Wait(n int) []Frame {
	var all []Frame
	for len(all) < n {
		got := p.collect(n-len(all), true)
		if got == nil {
			break
		}
		all = append(all, got...)
	}
	return all
}

func (p *Port) collect(limit int, wait bool) []Frame {
	fs := make([]frame.Frame, limit)
	n, _ := p.in.take(fs, p.Index, wait)
	var all []Frame
	for i := range fs[:n] {
		f := &fs[i]
		all = append(all, Frame{Bytes: slices.Clone(f.Bytes()), Offload: f.Offload, VLAN: f.Info.VLAN})
	}
	return all
}
