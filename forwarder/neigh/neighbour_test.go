package neigh

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/arp"

	"uvs/forwarder/frame"
)

// peer is the link as the peer has it, for building its frames.
func peer(mac [6]byte) *link { return &link{Link: Link{MAC: mac}} }

// says is an ARP reply from a host to eth0.
func says(addr string, mac [6]byte) frame.Frame {
	return arpFrame(peer(mac), macEth0, arp.OperationReply, ip(addr), macEth0, ip("10.0.0.2"))
}

// announces is a gratuitous ARP request.
func announces(addr string, mac [6]byte) frame.Frame { return gratuitous(peer(mac), ip(addr))[0] }

func TestASilentNeighbourIsAskedThreeTimesAndThenLeftAlone(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		h := b.lookup("10.0.0.9")
		if h.Resolved || h.Link != eth0 || h.MTU != 1500 || h.Source != ip("10.0.0.2") {
			t.Fatalf("%+v", h)
		}
		if v := b.Queue(h, datagram(100, 1)); v != frame.Queued {
			t.Fatalf("Queue answers %v", v)
		}
		wait(2900 * time.Millisecond)
		asked := b.take()
		if len(asked) != 3 {
			t.Fatalf("asked %d times, want 3", len(asked))
		}
		for i, s := range asked {
			eth, m := isARP(t, s.data)
			if s.at != time.Duration(i)*time.Second || m.Operation != 1 ||
				eth.DstMAC.String() != "ff:ff:ff:ff:ff:ff" || [6]byte(eth.SrcMAC) != macEth0 ||
				netip.AddrFrom4([4]byte(m.SourceProtAddress)) != ip("10.0.0.2") ||
				netip.AddrFrom4([4]byte(m.DstProtAddress)) != ip("10.0.0.9") {
				t.Errorf("at %v: %v %v", s.at, eth, m)
			}
		}
		wait(200 * time.Millisecond)
		if n := b.counted(frame.DropNoNeighbour); n != 1 {
			t.Errorf("%d frames counted as dropped, want 1", n)
		}
		if v := b.Queue(h, datagram(100, 2)); v != frame.DropNoNeighbour {
			t.Errorf("Queue answers %v while the host is left alone", v)
		}
		if b.lookup("10.0.0.9"); len(b.take()) != 0 {
			t.Error("asked again at once")
		}
		wait(failedFor)
		if v := b.Queue(h, datagram(100, 3)); v != frame.Queued {
			t.Errorf("Queue answers %v after that", v)
		}
		if len(b.take()) != 1 {
			t.Error("a frame for it did not make the director ask again")
		}
	})
}

func TestWaitingFramesLeaveInOrderWhenTheNeighbourAnswers(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		h := b.lookup("10.0.0.9")
		for i := range queueFrames {
			if v := b.Queue(h, datagram(100, byte(i))); v != frame.Queued {
				t.Fatalf("frame %d: %v", i, v)
			}
		}
		if v := b.Queue(h, datagram(100, 0)); v != frame.DropNeighbourQueue {
			t.Errorf("one frame too many: %v", v)
		}
		b.take()
		gen := b.Generation()
		b.arrive(eth0, says("10.0.0.9", macPeer))
		if b.Generation() == gen {
			t.Error("the generation is the same")
		}
		out := b.take()
		if len(out) != queueFrames {
			t.Fatalf("%d frames left, want %d", len(out), queueFrames)
		}
		for i, s := range out {
			if [6]byte(s.data[:6]) != macPeer || [6]byte(s.data[6:12]) != macEth0 || s.data[frame.EthernetLen] != byte(i) {
				t.Errorf("frame %d is % x", i, s.data[:15])
			}
		}
		if h := b.lookup("10.0.0.9"); !h.Resolved || h.DstMAC != macPeer || h.SrcMAC != macEth0 {
			t.Errorf("%+v", h)
		}
		// A worker that still holds the old Hop loses nothing.
		if v := b.Queue(h, datagram(100, 7)); v != frame.Queued || len(b.take()) != 1 {
			t.Error("a frame for the old Hop did not leave")
		}
		if b.queued != 0 {
			t.Errorf("%d bytes remain in the books", b.queued)
		}
	})
}

func TestTheQueueIsBoundedInBytes(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		one, total := 0, 0
		h := b.lookup("10.0.0.9")
		for b.Queue(h, datagram(60000, 0)) == frame.Queued {
			one++
		}
		if one != queueBytes/60014 {
			t.Errorf("%d frames of 60000 bytes wait for one host", one)
		}
		for i := range 100 {
			h := b.lookup(netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)}).String())
			for b.Queue(h, datagram(60000, 0)) == frame.Queued {
				total += 60014
			}
		}
		if total > totalBytes || total < totalBytes-2*queueBytes {
			t.Errorf("%d bytes wait in all", total)
		}
	})
}

func TestANeighbourInUseIsVerifiedAndAnIdleOneIsNot(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.lookup("10.0.0.9")
		b.take()
		b.arrive(eth0, says("10.0.0.9", macPeer))
		for range 10 { // five minutes with a Lookup now and then, as workers do
			wait(30 * time.Second)
			b.lookup("10.0.0.9")
			for _, s := range b.take() {
				if eth, m := isARP(t, s.data); [6]byte(eth.DstMAC) != macPeer || m.Operation != 1 {
					t.Errorf("verified by %v %v", eth, m)
				}
				b.arrive(eth0, says("10.0.0.9", macPeer))
			}
			if !b.lookup("10.0.0.9").Resolved {
				t.Fatal("lost")
			}
		}
		for range 120 {
			wait(time.Second)
			for range b.take() {
				b.arrive(eth0, says("10.0.0.9", macPeer))
			}
		}
		wait(5 * time.Minute)
		if n := len(b.take()); n != 0 {
			t.Errorf("%d questions though nobody uses the neighbour", n)
		}
		b.RLock()
		known := len(b.neighbours)
		b.RUnlock()
		if known != 1 {
			t.Errorf("%d neighbours are remembered after 7 minutes, want 1", known)
		}
		wait(10 * time.Minute)
		if len(b.neighbours) != 0 {
			t.Error("it is still remembered after 17 minutes")
		}
	})
}

func (b *bench) RLock()   { b.Table.mu.RLock() }
func (b *bench) RUnlock() { b.Table.mu.RUnlock() }

func TestANeighbourThatStopsAnsweringIsAskedForAndGivenUp(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.lookup("10.0.0.9")
		b.arrive(eth0, says("10.0.0.9", macPeer))
		b.take()
		var unicasts, broadcasts int
		for range 45 {
			wait(time.Second)
			b.lookup("10.0.0.9")
		}
		for _, s := range b.take() {
			if s.at > 37*time.Second {
				continue // the next attempt
			}
			if s.data[0] == 0xff {
				broadcasts++
			} else {
				unicasts++
			}
		}
		if unicasts != 3 || broadcasts != 3 {
			t.Errorf("%d questions to its MAC address and %d to all, want 3 and 3", unicasts, broadcasts)
		}
		if b.lookup("10.0.0.9").Resolved {
			t.Error("its MAC address is still used")
		}
	})
}

func TestAChangedMACAddressIsFollowed(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.lookup("10.0.0.9")
		b.arrive(eth0, says("10.0.0.9", macPeer))
		b.arrive(eth0, arpFrame(peer(macNew), broadcast, arp.OperationRequest, ip("10.0.0.9"), [6]byte{}, ip("10.0.0.77")))
		if b.lookup("10.0.0.9").DstMAC != macPeer {
			t.Error("a claim outweighs the answer just given")
		}
		wait(5 * time.Second)
		gen := b.Generation()
		b.arrive(eth0, announces("10.0.0.9", macNew))
		if h := b.lookup("10.0.0.9"); h.DstMAC != macNew || b.Generation() == gen {
			t.Errorf("the old MAC address is used: %+v", h)
		}
		b.take()
		wait(1500 * time.Millisecond)
		if s := b.take(); len(s) != 1 || [6]byte(s[0].data[:6]) != macNew {
			t.Errorf("the claim is not verified: %v", s)
		}
		b.arrive(eth1, announces("10.0.0.9", macPeer))
		if b.lookup("10.0.0.9").DstMAC != macNew {
			t.Error("a claim on another link counts")
		}
	})
}

func (k *fakeKernel) entry(e kernelEntry) { k.events <- event{entries: []kernelEntry{e}} }

func TestTheKernelsEntriesAreUsedAsTheyAre(t *testing.T) {
	k := twoLinks()
	nine := key{eth0, ip("10.0.0.9")}
	k.list = []kernelEntry{{key: nine, mac: macPeer, valid: true, permanent: true}}
	run(t, Config{}, k, func(b *bench) {
		h := b.lookup("10.0.0.9")
		if !h.Resolved || h.DstMAC != macPeer {
			t.Fatalf("%+v", h)
		}
		for range 10 {
			wait(20 * time.Second)
			b.lookup("10.0.0.9")
		}
		b.arrive(eth0, announces("10.0.0.9", macNew))
		b.arrive(eth0, says("10.0.0.9", macNew))
		if len(b.take()) != 0 || b.lookup("10.0.0.9").DstMAC != macPeer {
			t.Error("a permanent entry is doubted")
		}
		k.entry(kernelEntry{key: nine, mac: macNew, valid: true, permanent: true})
		wait(0)
		if b.lookup("10.0.0.9").DstMAC != macNew {
			t.Error("the changed entry is not followed")
		}
		k.entry(kernelEntry{key: nine})
		wait(0)
		if b.lookup("10.0.0.9").Resolved || len(b.take()) != 1 {
			t.Error("a deleted entry is still used, or nobody asks")
		}
		k.entry(kernelEntry{key: nine, mac: macPeer, valid: true, confirmed: true, changed: true})
		wait(0)
		if h := b.lookup("10.0.0.9"); !h.Resolved || h.DstMAC != macPeer {
			t.Error("what the kernel found out is not used")
		}
		// Stale, delay and probe of the same address change nothing for workers.
		gen := b.Generation()
		k.entry(kernelEntry{key: nine, mac: macPeer, valid: true, changed: true})
		k.entry(kernelEntry{key: nine, mac: macPeer, valid: true})
		wait(0)
		if b.Generation() != gen {
			t.Error("a change of state alone changes the generation")
		}
	})
}

func TestLostNetlinkMessagesAreMadeUpFor(t *testing.T) {
	k := twoLinks()
	nine, eight := key{eth0, ip("10.0.0.9")}, key{eth0, ip("10.0.0.8")}
	k.list = []kernelEntry{{key: nine, mac: macPeer, valid: true, permanent: true}}
	run(t, Config{}, k, func(b *bench) {
		b.lookup("10.0.0.9")
		k.list = []kernelEntry{{key: eight, mac: macNew, valid: true, permanent: true}}
		k.events <- event{reload: true, resync: true}
		wait(time.Second)
		if b.lookup("10.0.0.9").Resolved || !b.lookup("10.0.0.8").Resolved {
			t.Error("the kernel's table is not what the director uses")
		}
	})
}

func TestSearchesAreBounded(t *testing.T) {
	k := twoLinks()
	addr, routes := net4(eth0, "10.128.0.2/9")
	k.state.addrs, k.state.routes = append(k.state.addrs, addr), append(k.state.routes, routes...)
	run(t, Config{}, k, func(b *bench) {
		h := (*Hop)(nil)
		for i := range 4 * maxResolving {
			h = b.lookup(netip.AddrFrom4([4]byte{10, 129, byte(i >> 8), byte(i)}).String())
		}
		if n := len(b.take()); n != maxResolving {
			t.Errorf("%d questions, want %d", n, maxResolving)
		}
		if v := b.Queue(h, datagram(100, 0)); v != frame.DropNoNeighbour {
			t.Errorf("a frame beyond them: %v", v)
		}
		wait(5 * time.Minute)
		if len(b.neighbours) != 0 || len(b.timers) != 0 || b.resolving[eth0]+b.resolving[eth1] != 0 {
			t.Errorf("%d neighbours, %d timers, %v searches remain", len(b.neighbours), len(b.timers), b.resolving)
		}
	})
}

func TestALinkThatGoesDownTakesItsNeighboursAlong(t *testing.T) {
	k := twoLinks()
	run(t, Config{}, k, func(b *bench) {
		h := b.lookup("10.0.0.9")
		b.Queue(h, datagram(100, 0))
		k.change(func(s *state) { s.links[1].Up = false })
		wait(time.Second)
		if b.counted(frame.DropNoNeighbour) != 1 {
			t.Error("the waiting frame is not counted")
		}
		if _, v := b.Lookup(ip("10.0.0.9")); v != frame.DropNoRoute {
			t.Errorf("the way over a link that is down: %v", v)
		}
		if v := b.Queue(h, datagram(100, 0)); v != frame.DropNoNeighbour {
			t.Errorf("a frame for an old Hop: %v", v)
		}
	})
}

func TestWorkersAndChangesDoNotDisturbEachOther(t *testing.T) {
	k := twoLinks()
	run(t, Config{}, k, func(b *bench) {
		var workers sync.WaitGroup
		for w := range 4 {
			workers.Go(func() {
				for i := range 2000 {
					host := netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + (i+w)%100)}).String()
					if h, v := b.Lookup(ip(host)); v == frame.Continue && !h.Resolved {
						b.Queue(h, datagram(100, 0))
					}
					f := says(host, [6]byte{2, 0, 0, 1, 0, byte(i % 100)})
					f.Ingress = eth0
					b.Answer(&f)
				}
			})
		}
		for i := range 50 {
			b.SetOwned([]netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})})
			k.change(func(s *state) { s.links[1].Up = i%2 == 1 })
			k.entry(kernelEntry{key: key{eth0, ip("10.0.0.20")}, mac: macPeer, valid: i%3 > 0, permanent: i%3 > 1})
			wait(10 * time.Millisecond)
		}
		workers.Wait()
		k.change(func(s *state) { s.links[1].Up = false })
		wait(time.Minute)
		if b.queued != 0 || b.resolving[eth0]+b.resolving[eth1] != 0 || len(b.timers) != 0 {
			t.Errorf("%d bytes, %v searches, %d timers remain", b.queued, b.resolving, len(b.timers))
		}
	})
}

func TestLookupOfKnownAddressesDoesNotAllocate(t *testing.T) {
	k := twoLinks()
	k.list = []kernelEntry{
		{key: key{eth0, ip("10.0.0.9")}, mac: macPeer, valid: true, permanent: true},
		{key: key{eth0, ip("10.0.0.1")}, mac: macPeer, valid: true, permanent: true},
	}
	b := still(t, k, Config{})
	addrs := []netip.Addr{ip("10.0.0.9"), ip("8.8.8.8"), ip("10.0.0.2"), ip("fd00:1::5"), ip("10.1.0.77")}
	for _, a := range addrs {
		if n := testing.AllocsPerRun(100, func() { b.Lookup(a) }); n != 0 {
			t.Errorf("%s: %v allocations", a, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	k := twoLinks()
	k.list = []kernelEntry{{key: key{eth0, ip("10.0.0.1")}, mac: macPeer, valid: true, permanent: true}}
	t := still(b, k, Config{})
	a := ip("8.8.8.8")
	b.ReportAllocs()
	for b.Loop() {
		t.Lookup(a)
	}
}
