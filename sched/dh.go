package sched

import "uvs/forwarder/frame"

// dh is destination hashing (ip_vs_dh.c): the packet's destination address gives a
// bucket, and each server has one bucket in turn, whatever its weight. It makes
// sense for a firewall-mark service that covers many addresses, such as a farm of
// caches. Connections whose bucket has a server with weight 0, or an overloaded
// one, get no server.
type dh struct{ buckets }

func newDH() *dh {
	return &dh{buckets{share: func(*RealServer) int32 { return 1 }}}
}

func (h *dh) Name() string { return "dh" }

func (h *dh) Pick(f *frame.Flow, rec *Record) *RealServer {
	bucket := hash32(fold(f.Dst16()), bucketBits)
	s := h.at(bucket)
	if rec != nil {
		rec.Beginf("dh", "bucket %d of %d, from hash(%s)", bucket, bucketCount, f.Dst())
		if s != nil {
			rec.Add(s, "")
		}
	}
	if s == nil || !s.Eligible() {
		return nil
	}
	if rec != nil {
		rec.Choose(s)
	}
	return s
}
