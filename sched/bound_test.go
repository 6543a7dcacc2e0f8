package sched

import (
	"encoding/binary"
	"testing"
	"time"
)

func TestACacheRemembersABoundedNumberOfAddresses(t *testing.T) {
	c := newCache(&options{now: func() time.Duration { return 0 }, expiration: time.Hour})
	var addr [16]byte
	for i := range cacheMost + 3*cacheMost/cacheBuckets {
		binary.BigEndian.PutUint32(addr[12:], uint32(i))
		c.insert(addr, time.Second)
		if len(c.entries) > cacheMost {
			t.Fatalf("%d entries", len(c.entries))
		}
	}
	if c.get(addr, time.Second) == nil {
		t.Error("the youngest is forgotten")
	}
}
