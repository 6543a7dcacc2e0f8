package neigh

import (
	"net/netip"
	"testing"
	"time"
)

// TestManyClaimsForgetNoRecentDefence: an address that was announced less than 10 s ago
// is known, whatever else is claimed.
func TestManyClaimsForgetNoRecentDefence(t *testing.T) {
	var c claims
	c.known = map[key]*claim{}
	now := time.Now()
	of := func(i int) *claim {
		return c.of(key{link: 1, addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, now)
	}
	of(0).defended, of(1).warned = now.Add(-9*time.Second), now.Add(-59*time.Second)
	of(2).defended, of(2).warned = now.Add(-11*time.Second), now.Add(-61*time.Second)
	for i := range 3 * claimsKept {
		of(3 + i)
		if len(c.known) > claimsKept {
			t.Fatalf("%d claims are remembered", len(c.known))
		}
	}
	if of(0).defended.IsZero() || of(1).warned.IsZero() || !of(2).defended.IsZero() {
		t.Errorf("they forget %v, %v and remember %v", of(0), of(1), of(2))
	}
}
