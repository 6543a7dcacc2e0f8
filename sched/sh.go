package sched

import (
	"fmt"
	"sync/atomic"

	"uvs/forwarder/frame"
)

// sh is source hashing (ip_vs_sh.c): the client's address gives a bucket, and a
// server has as many buckets in a row as its weight, one even with weight 0. Clients
// whose server has weight 0 or is overloaded get no server, unless the flag
// sh-fallback sends them on to the next bucket with an eligible one. With sh-port the
// client's port counts too. If the weights add up to more than 256, the servers added
// first have no bucket.
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

// fallback probes the buckets in order. It begins at twice the bucket's number: the
// kernel adds the bucket to the offset, and then the hash, which is the bucket again,
// to both.
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

// hashed returns what sh and mh hash, in words.
func hashed(f *frame.Flow, flags Flags) string {
	if flags&Port != 0 {
		return f.Source().String()
	}
	return f.Src().String()
}
