package frame

// SoftwareOffload does in software what the sender of a frame left to the hardware, for
// interfaces without offload: it completes checksums and splits super-frames into
// segments. It keeps a buffer for one segment and belongs to one goroutine. The zero
// SoftwareOffload is ready to use.
//
//	for b := o.First(f); b != nil; b = o.Next() {
//		// write b, which is valid until the next call
//	}
type SoftwareOffload struct {
	parser  Parser
	rest    Segmenter // what Next returns
	more    bool
	segment Frame
	buf     []byte
}

// First returns the first, or only, frame to send for f, or nil if f cannot be sent
// without offload: a super-frame in a tunnel, or one whose headers contradict its
// Offload.
func (o *SoftwareOffload) First(f *Frame) []byte {
	o.more = false
	if !f.Offload.Partial() && !f.Offload.Super() {
		return f.Bytes()
	}
	parsed := o.parser.Parse(f) == Continue
	if !f.Offload.Super() {
		f.CompleteChecksum()
		return f.Bytes()
	}
	if !parsed {
		return nil
	}
	if o.rest, o.more = f.Segments(); !o.more {
		return nil
	}
	if n := o.rest.BufferLen(); n > len(o.buf) {
		o.buf = make([]byte, n)
	}
	return o.Next()
}

// Next returns the next segment of the frame that First was called with, or nil if
// there are no more.
func (o *SoftwareOffload) Next() []byte {
	if !o.more {
		return nil
	}
	if o.more = o.rest.Next(&o.segment, o.buf); !o.more {
		return nil
	}
	return o.segment.Bytes()
}
