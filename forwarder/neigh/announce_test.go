package neigh

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// said describes announcements: when, on which link, in which form.
func said(t *testing.T, out []sent) []string {
	t.Helper()
	var lines []string
	for _, s := range out {
		what := "na"
		if s.data[12] == 8 {
			eth, m := isARP(t, s.data)
			if eth.DstMAC.String() != "ff:ff:ff:ff:ff:ff" || string(m.SourceProtAddress) != string(m.DstProtAddress) {
				t.Errorf("not gratuitous: %v %v", eth, m)
			}
			what = [...]string{1: "request", 2: "reply"}[m.Operation] + " " + netip.AddrFrom4([4]byte(m.SourceProtAddress)).String()
		} else {
			isAdvertisement(t, s.data, netip.AddrFrom16([16]byte(s.data[ndTarget:ndOptions])).String(), "ff02::1",
				allNodesMAC, [6]byte(s.data[6:12]))
		}
		lines = append(lines, fmt.Sprintf("%v link %d %s", s.at, s.link, what))
	}
	slices.Sort(lines)
	return lines
}

func TestAnAddressIsAnnouncedAtOnceThenQuicklyThenRarely(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.SetOwned([]netip.Addr{ip("10.0.0.100")})
		wait(3 * time.Minute)
		var want []string
		for _, at := range []string{"0s", "1.1s", "2.2s", "3.3s", "4.4s", "1m4.4s", "2m4.4s"} {
			want = append(want, at+" link 2 reply 10.0.0.100", at+" link 2 request 10.0.0.100")
		}
		slices.Sort(want)
		if d := cmp.Diff(want, said(t, b.take())); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestOnlyWhatIsNewIsAnnounced(t *testing.T) {
	run(t, Config{AnnounceEvery: -1}, twoLinks(), func(b *bench) {
		b.SetOwned([]netip.Addr{ip("10.0.0.100")})
		wait(time.Hour)
		b.take()
		b.SetOwned([]netip.Addr{ip("10.0.0.100"), ip("10.1.0.100"), ip("fd00::100"), ip("192.0.2.1")})
		want := []string{
			"1h0m0s link 2 na",
			"1h0m0s link 2 reply 192.0.2.1", "1h0m0s link 2 request 192.0.2.1",
			"1h0m0s link 3 reply 10.1.0.100", "1h0m0s link 3 reply 192.0.2.1",
			"1h0m0s link 3 request 10.1.0.100", "1h0m0s link 3 request 192.0.2.1",
		}
		if d := cmp.Diff(want, said(t, b.take())); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		b.SetOwned(nil)
		wait(time.Hour)
		if n := len(b.take()); n != 0 {
			t.Errorf("%d announcements of addresses that are gone", n)
		}
	})
}

func TestALinkThatComesUpIsToldAnew(t *testing.T) {
	k := twoLinks()
	k.state.links[1].Running = false
	run(t, Config{AnnounceEvery: -1}, k, func(b *bench) {
		b.SetOwned([]netip.Addr{ip("10.0.0.100"), ip("10.1.0.100")})
		wait(10 * time.Second)
		b.take()
		for _, c := range []struct {
			name   string
			change func(*state)
			want   int
		}{
			{"a carrier", func(s *state) { s.links[1].Running = true }, 10},
			{"nothing", func(*state) {}, 0},
			{"another MTU", func(s *state) { s.links[1].MTU = 9000 }, 0},
			{"no carrier", func(s *state) { s.links[1].Running = false }, 0},
			{"another MAC address", func(s *state) { s.links[1].MAC = macNew }, 10},
			{"down", func(s *state) { s.links[1].Up = false }, 0},
			{"up", func(s *state) { s.links[1].Up = true }, 10},
		} {
			k.change(c.change)
			wait(10 * time.Second)
			if out := b.take(); len(out) != c.want {
				t.Errorf("%s: %d announcements, want %d", c.name, len(out), c.want)
			}
		}
	})
}

func TestThousandsOfAddressesAreAnnouncedInBursts(t *testing.T) {
	run(t, Config{AnnounceEvery: -1}, twoLinks(), func(b *bench) {
		var addrs []netip.Addr
		for i := range 3000 {
			addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}))
		}
		b.SetOwned(addrs)
		wait(time.Second)
		out := b.take()
		if len(out) != 3000*2*2 {
			t.Errorf("%d announcements, want %d", len(out), 3000*2*2)
		}
		if last := out[len(out)-1].at; last < 200*time.Millisecond || last > 400*time.Millisecond {
			t.Errorf("the last left after %v", last)
		}
	})
}

func TestWhatAServiceOwnsIsMappedAddressesToo(t *testing.T) {
	b := owner(t, "::ffff:10.0.0.100", "224.0.0.1", "0.0.0.0")
	if owned := slices.Collect(b.ownedAddrs()); len(owned) != 1 || !b.ownsAddr(ip("10.0.0.100")) {
		t.Errorf("owned: %v", owned)
	}
}
