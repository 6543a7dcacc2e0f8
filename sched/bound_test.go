package sched

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"
)

func TestACacheRemembersABoundedNumberOfAddresses(t *testing.T) {
	var forgotten atomic.Uint64
	c := newCache(Options{Clock: func() time.Duration { return 0 }, Expiration: func() time.Duration { return time.Hour }, Forgotten: &forgotten})
	var addr [16]byte
	const inserted = cacheBound + 3*cacheBound/cacheBuckets
	for i := range inserted {
		binary.BigEndian.PutUint32(addr[12:], uint32(i))
		c.insert(addr, time.Second)
		if len(c.entries) > cacheBound {
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

func TestAnExpirationChangedInUseCountsFromTheNextSweep(t *testing.T) {
	expiration := 24 * time.Hour
	c := newCache(Options{Clock: func() time.Duration { return 0 }, Expiration: func() time.Duration { return expiration }})
	addr := [16]byte{15: 1}
	c.insert(addr, 0)
	c.advance(time.Hour)
	if len(c.entries) != 1 {
		t.Fatal("an entry is forgotten after an hour of 24")
	}
	expiration = 10 * time.Minute
	c.advance(2 * time.Hour)
	if len(c.entries) != 0 {
		t.Error("an entry unused for two hours outlives an expiration of ten minutes")
	}
}
