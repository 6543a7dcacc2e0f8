package neigh

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"uvs/forwarder/frame"
)

// wideLink is a host whose link eth0 also has the network 10.128.0.0/9.
func wideLink() *fakeKernel {
	k := twoLinks()
	addr, routes := net4(eth0, "10.128.0.2/9")
	k.state.addrs, k.state.routes = append(k.state.addrs, addr), append(k.state.routes, routes...)
	return k
}

// nobody is the i-th address of that network at which no host is.
func nobody(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 130 + byte(i>>16), byte(i >> 8), byte(i)})
}

// TestHostsThatDoNotExistPushOutNobody: a flood from random sources of a link has an answer
// sent to each.
func TestHostsThatDoNotExistPushOutNobody(t *testing.T) {
	run(t, Config{}, wideLink(), func(b *bench) {
		b.SetOwned([]netip.Addr{ip("10.0.0.100")})
		b.lookup("10.0.0.9")
		b.arrive(eth0, says("10.0.0.9", macPeer))
		wait(0)
		for i := range maxNeighbours + 20000 {
			b.Lookup(nobody(i))
		}
		wait(4 * time.Second) // those that were asked did not reply
		for i := range 20000 {
			b.Lookup(nobody(i + 1<<17))
		}
		if n := len(b.neighbours); n > maxNeighbours {
			t.Errorf("%d neighbours, at most %d", n, maxNeighbours)
		}
		if !b.lookup("10.0.0.9").Resolved {
			t.Error("a neighbour was pushed out")
		}
		b.arrive(eth0, question(t, "10.0.0.10", macNew, broadcast, "10.0.0.100"))
		wait(0)
		if h := b.lookup("10.0.0.10"); !h.Resolved || h.DstMAC != macNew {
			t.Error("a host that asks for an address is not known when it is answered")
		}
		if h := b.lookup("10.1.0.9"); h == nil {
			t.Error("a server on the other link has no room")
		}
		b.take()
		wait(0)
		b.arrive(eth1, says("10.1.0.9", macNew))
		wait(0)
		if !b.lookup("10.1.0.9").Resolved {
			t.Error("a server on the other link is not found")
		}
	})
}

// TestAHostThatAsksIsMet: its MAC address is used at once, and verified.
func TestAHostThatAsksIsMet(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T) frame.Frame{
		"10.0.0.9": func(t *testing.T) frame.Frame { return question(t, "10.0.0.9", macPeer, broadcast, "10.0.0.100") },
		"fd00::9":  func(t *testing.T) frame.Frame { return solicit(t, "fd00::9", "ff02::1:ff00:100", "fd00::100", true) },
	} {
		run(t, Config{AnnounceEvery: -1}, twoLinks(), func(b *bench) {
			b.SetOwned([]netip.Addr{ip("10.0.0.100"), ip("fd00::100")})
			wait(announceFor + time.Second)
			b.take()
			if v := b.arrive(eth0, ask(t)); v != frame.Answered {
				t.Fatalf("%s: %v", name, v)
			}
			wait(0)
			if h := b.lookup(name); !h.Resolved || h.DstMAC != macPeer {
				t.Fatalf("%s: %+v", name, h)
			}
			wait(0)
			s := b.take()
			if len(s) != 1 || [6]byte(s[0].data[:6]) != macPeer {
				t.Errorf("%s: it is not verified by a question to it alone: %d frames", name, len(s))
			}
		})
	}
}

func TestAFloodOfQuestionsIsBounded(t *testing.T) {
	run(t, Config{}, wideLink(), func(b *bench) {
		b.SetOwned([]netip.Addr{ip("10.0.0.100")})
		wait(0)
		before := b.Generation()
		for i := range maxNeighbours + 1000 {
			b.arrive(eth0, question(t, nobody(i).String(), macNew, broadcast, "10.0.0.100"))
			if i%512 == 0 {
				wait(0)
			}
		}
		wait(0)
		if n := len(b.neighbours); n != maxNeighbours {
			t.Errorf("%d neighbours, want %d", n, maxNeighbours)
		}
		if b.Generation() != before {
			t.Error("workers have to look up all next hops again")
		}
		b.lookup("10.0.0.9")
		b.arrive(eth0, says("10.0.0.9", macPeer))
		wait(0)
		if !b.lookup("10.0.0.9").Resolved {
			t.Error("there is no room for a neighbour that is needed")
		}
		b.arrive(eth0, question(t, "8.8.8.8", macNew, broadcast, "10.0.0.100"))
		wait(3 * ageEvery)
		if n := len(b.neighbours); n != 0 {
			t.Errorf("%d of them are kept, though nobody used them", n)
		}
	})
}

func TestAClaimIsNamedCountedAndAnswered(t *testing.T) {
	var log bytes.Buffer
	run(t, Config{Log: textLog(&log), AnnounceEvery: -1}, twoLinks(), func(b *bench) {
		b.SetOwned([]netip.Addr{ip("10.0.0.100"), ip("fd00::100")})
		wait(announceFor + time.Second)
		b.take()
		const seconds = 65
		for range seconds {
			for range 3 {
				b.arrive(eth0, announces("10.0.0.100", macPeer))
			}
			b.arrive(eth0, advertisement(peer(macNew), ip("fd00::100"), false))
			wait(time.Second)
		}
		four, six := 0, 0
		for _, s := range b.take() {
			switch [2]byte(s.data[12:14]) {
			case [2]byte{8, 6}:
				four++
			default:
				six++
			}
		}
		const times = seconds/10 + 1
		if four != 2*times || six != times {
			t.Errorf("%d ARP messages and %d advertisements, want %d and %d", four, six, 2*times, times)
		}
		counters := map[string]uint64{}
		b.Counters(counters)
		if counters["address-claims"] != 4*seconds || counters["address-defended"] != 2*times {
			t.Errorf("counters %v", counters)
		}
	})
	for _, want := range []string{"address=10.0.0.100 mac=02:00:00:00:00:09 link=eth0", "address=fd00::100 mac=02:00:00:00:00:0a link=eth0"} {
		if n := bytes.Count(log.Bytes(), []byte(want)); n != 2 {
			t.Errorf("%q %d times, want 2:\n%s", want, n, log.String())
		}
	}
}

func TestClaimsToManyAddressesFillNeitherLogNorNetwork(t *testing.T) {
	var log bytes.Buffer
	run(t, Config{Log: textLog(&log), AnnounceEvery: -1}, wideLink(), func(b *bench) {
		var all []netip.Addr
		for i := range claimsKept + 1000 {
			all = append(all, nobody(i))
		}
		b.SetOwned(all)
		wait(time.Minute)
		b.take()
		for range 2 {
			for i, a := range all {
				b.arrive(eth0, announces(a.String(), macPeer))
				if i%16 == 15 {
					wait(claimsPause)
				}
			}
		}
		const most = 2 * defendBurst * (2*(claimsKept+1000)/16/100 + 1) // in so many periods
		if n := len(b.take()); n < 2*defendBurst || n > most {
			t.Errorf("%d announcements, at most %d", n, most)
		}
		if n := len(b.claims.known); n > claimsKept {
			t.Errorf("%d claims are remembered", n)
		}
	})
	if n := bytes.Count(log.Bytes(), []byte("claims an address")); n != 2*warnBurst { // in the 64 s that it took
		t.Errorf("%d lines, want %d", n, 2*warnBurst)
	}
}
