package afpacket

import (
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/forwarder/port"
	"uvs/internal/fdstore"
	"uvs/internal/nstest"
)

// The rings of a group of which one is lost are read to their end, and then the new ones,
// which have their names, are still kept.
func TestTheRestOfAGroupMakesWayForANewOneOfTheSameNames(t *testing.T) {
	c := newTally(t)
	store := fdstore.New()
	defer store.Close()
	cfg := Config{Store: store}
	closeAll(openKept(t, cfg, 2))
	want := store.Names(ringPrefix)
	if err := store.Forget(want[1]); err != nil {
		t.Fatal(err)
	}
	ports := openKept(t, cfg, 2)
	c.send(100)
	stop := c.serve(ports)
	c.judge(0, 0)
	stop()
	if names := store.Names(ringPrefix); !slices.Equal(names, want) {
		t.Errorf("kept are %v, want %v", names, want)
	}
	c.send(50)
	defer c.serve(openKept(t, cfg, 2))()
	c.judge(0, 0)
}

// A ring that does not say how far it was read is replaced, and the other of its group is read
// to its end.
func TestARingThatCannotBeReadOnIsReplaced(t *testing.T) {
	for _, profile := range []Profile{Latency, Throughput} {
		t.Run(profile.String(), func(t *testing.T) {
			c := newTally(t)
			cfg := Config{Profile: profile, Store: fdstore.New()}
			defer cfg.Store.Close()
			ports := openKept(t, cfg, 2)
			switch r := ports[0].rx.ring.(type) {
			case *slotRing:
				atomic.StoreUint32(&r.pos.magic, 1)
			case *blockRing:
				atomic.StoreUint32(&r.pos.magic, 1)
			}
			closeAll(ports)
			defer c.serve(openKept(t, cfg, 2))()
			c.send(100)
			c.judge(0, 0)
			if names := cfg.Store.Names(ringPrefix); len(names) != 2 {
				t.Errorf("kept are %v, want two rings", names)
			}
		})
	}
}

// A process that lacks descriptors for a moment keeps its rings, and what waits in them.
func TestAShortageOfDescriptorsLosesNoRing(t *testing.T) {
	c := newTally(t)
	cfg := Config{Store: fdstore.New()}
	defer cfg.Store.Close()
	closeAll(openKept(t, cfg, 2))
	c.send(100)
	want := cfg.Store.Names(ringPrefix)
	for spare := range 12 { // fewer than two ports take
		ports, err := withDescriptors(t, spare, func() ([]*Port, error) { return OpenGroup(cfg, 2) })
		closeAll(ports)
		if err != nil && !port.IsTransient(err) {
			t.Errorf("with %d descriptors: %v, want a shortage", spare, err)
		}
		if spare == 0 && err == nil {
			t.Error("ports opened without descriptors")
		}
		if names := cfg.Store.Names(ringPrefix); !slices.Equal(names, want) {
			t.Fatalf("with %d descriptors: kept are %v, want %v", spare, names, want)
		}
	}
	defer c.serve(openKept(t, cfg, 2))()
	nstest.Eventually(t, "what waited comes", func() bool { return c.seen() == c.sent })
	c.judge(0, 0)
}

// withDescriptors runs fn while the process can open only so many more descriptors.
func withDescriptors[T any](t *testing.T, spare int, fn func() (T, error)) (T, error) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	var taken []int // all numbers below the limit, but for the spare ones
	for len(taken) < 64+spare {
		fd, err := unix.Dup(0)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
	limit := was
	limit.Cur = uint64(slices.Max(taken) + 1)
	for _, fd := range taken[:spare] {
		_ = unix.Close(fd)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		for _, fd := range taken[spare:] {
			_ = unix.Close(fd)
		}
	}()
	return fn()
}
