package sched

import (
	"fmt"
	"sync/atomic"

	"uvs/forwarder/frame"
)

// sh is source hashing (ip_vs_sh.c): the client's address gives a bucket, and a
// server has as many buckets in a row as its weight. A server of weight 0 still
// has one and its clients get no server, as do those of an overloaded one,
// unless the flag sh-fallback sends them on to the next bucket with a server
// that can take them. With sh-port the client's port counts too. If the weights
// sum to more than 256, the servers added first have no bucket.
type sh struct {
	buckets
	flags atomic.Uint32
}

func newSH(flags Flags) *sh {
	s := &sh{buckets: buckets{share: (*RealServer).Weight}}
	s.SetFlags(flags)
	return s
}

func (h *sh) Name() string { return "sh" }

// SetFlags changes sh-fallback and sh-port.
func (h *sh) SetFlags(f Flags) { h.flags.Store(uint32(f)) }

func (h *sh) Pick(f *frame.Flow, rec *Record) *RealServer {
	flags := Flags(h.flags.Load())
	key := fold(f.Src16())
	if flags&Port != 0 {
		key += uint32(f.SrcPort())
	}
	bucket := hash32(key, bucketBits)
	if rec != nil {
		rec.Beginf("sh", "bucket %d of %d, from hash(%s)", bucket, bucketCount, hashed(f, flags))
	}
	s := h.probe(bucket, rec)
	if s != nil && !s.Eligible() {
		s = h.fallback(bucket, flags, rec)
	}
	if rec != nil {
		rec.Choose(s)
	}
	return s
}

func (h *sh) probe(bucket uint32, rec *Record) *RealServer {
	s := h.at(bucket)
	if rec != nil && s != nil {
		rec.Add(s, fmt.Sprintf("bucket %d", bucket%bucketCount))
	}
	return s
}

// fallback probes the buckets one after the other. It begins at twice the
// bucket's number: the kernel adds the bucket itself to the offset and the
// hash again to both.
func (h *sh) fallback(bucket uint32, flags Flags, rec *Record) *RealServer {
	if flags&Fallback == 0 {
		return nil
	}
	for i := range uint32(bucketCount) {
		s := h.probe(2*bucket+i, rec)
		if s == nil || s.Eligible() {
			return s
		}
	}
	return nil
}

// hashed names what sh and mh hash.
func hashed(f *frame.Flow, flags Flags) string {
	if flags&Port != 0 {
		return f.Source().String()
	}
	return f.Src().String()
}
