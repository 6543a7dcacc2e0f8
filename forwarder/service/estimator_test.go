package service

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
)

// 200 connections of one 40-byte packet at once; recorded from Linux 6.1 IPVS.
func TestRatesDecayAsTheKernelsDo(t *testing.T) {
	c := newCounters(nil)
	c.Add(Traffic{Conns: 200, InPkts: 200, InBytes: 8000})
	for step, want := range [][2]uint64{{25, 1000}, {19, 750}, {14, 562}, {11, 422}, {8, 316}, {6, 237}, {4, 178}} {
		c.Tick()
		got := c.Stats()
		if got.CPS != want[0] || got.InPPS != want[0] || got.InBPS != want[1] {
			t.Errorf("after %d steps: CPS %d, InPPS %d, InBPS %d, want %d, %d, %d",
				step+1, got.CPS, got.InPPS, got.InBPS, want[0], want[0], want[1])
		}
	}
}

func TestCountersShowTheLastTick(t *testing.T) {
	c := newCounters(nil)
	c.Add(Traffic{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 4, OutBytes: 5})
	if got := c.Stats(); got != (config.Stats{}) {
		t.Errorf("before the tick: %+v, want nothing", got)
	}
	c.Tick()
	want := config.Stats{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 4, OutBytes: 5}
	got := c.Stats()
	got.CPS, got.InPPS, got.OutPPS, got.InBPS, got.OutBPS = 0, 0, 0, 0, 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestZeroKeepsWhatCameAfterTheLastTick(t *testing.T) {
	c := newCounters(nil)
	c.Add(Traffic{Conns: 7})
	c.Tick()
	c.Add(Traffic{Conns: 2})
	c.Zero()
	if got := c.Stats(); got != (config.Stats{}) {
		t.Errorf("after zeroing: %+v, want nothing", got)
	}
	c.Tick()
	if got := c.Stats().Conns; got != 2 {
		t.Errorf("after the next tick: %d connections, want the 2 that zeroing did not see", got)
	}
	if got := c.Load().Conns; got != 9 {
		t.Errorf("Load: %d connections, want all 9", got)
	}
}
