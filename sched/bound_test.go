package sched

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"
)

func TestACacheRemembersABoundedNumberOfAddresses(t *testing.T) {
	var forgotten atomic.Uint64
	c := newCache(Options{Clock: func() time.Duration { return 0 }, Expiration: time.Hour, Forgotten: &forgotten})
	var addr [16]byte
	const inserted = cacheMost + 3*cacheMost/cacheBuckets
	for i := range inserted {
		binary.BigEndian.PutUint32(addr[12:], uint32(i))
		c.insert(addr, time.Second)
		if len(c.entries) > cacheMost {
			t.Fatalf("%d entries", len(c.entries))
		}
	}
	if c.get(addr, time.Second) == nil {
		t.Error("the youngest is forgotten")
	}
	if got, want := forgotten.Load(), uint64(inserted-len(c.entries)); got != want {
		t.Errorf("%d are counted as forgotten, want %d", got, want)
	}
}
