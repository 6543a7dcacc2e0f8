package neigh

import "testing"

// The packets that waited for a director come all at once: what the one before knew of its
// neighbours is used without a question, and then verified.
func TestTheNextDirectorKnowsTheNeighbours(t *testing.T) {
	var known []Neighbour
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.Queue(b.lookup("10.0.0.9"), datagram(100, 1))
		b.arrive(eth0, says("10.0.0.9", macPeer))
		known = b.Neighbours()
		if len(known) != 1 || known[0] != (Neighbour{eth0, ip("10.0.0.9"), macPeer}) || b.Changes() == 0 {
			t.Fatalf("known are %v, after %d changes", known, b.Changes())
		}
	})
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.Remember(append(known, Neighbour{Link: 99, Addr: ip("10.0.0.9")}))
		if h := b.lookup("10.0.0.9"); !h.Resolved || h.DstMAC != macPeer {
			t.Errorf("the next director has %+v", h)
		}
		if len(b.take()) == 0 {
			t.Error("it never asks")
		}
	})
}
