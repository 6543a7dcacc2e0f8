package guard

import (
	"net/netip"
	"slices"
	"testing"
)

// A host that has a virtual address refuses what it does not know, once nobody guards it. With
// Silence it does not, whether a director lives or not; its own services go on.
func TestAHostWithAVirtualAddressStaysSilent(t *testing.T) {
	client, host, _ := lan(t)
	host.Addr("d0", "10.0.0.100/32")
	host.Addr("d0", "fd00::100/128")
	listen(t, host, "10.0.0.100:22")
	g := newGuard(t, host)
	silence := func(marks []Match, endpoints ...Tuple) {
		t.Helper()
		host.Do(func() error { return g.Silence(endpoints, marks, "") })
	}
	tcp4, tcp6 := tuple(6, "10.0.0.100:80"), tuple(6, "[fd00::100]:80")
	expect(t, client, "10.0.0.100:80", "refused", "nothing is silenced")
	silence(nil, tcp4, tcp6)
	expect(t, client, "10.0.0.100:80", "silent", "it is to be silent about this service")
	expect(t, client, "[fd00::100]:80", "silent", "over IPv6 as well")
	expect(t, client, "10.0.0.100:81", "refused", "other ports are the host's")
	expect(t, client, "10.0.0.100:22", "accepted", "so are its own services")
	expect(t, host, "10.0.0.100:80", "refused", "on the host itself it is as ever")
	host.Do(g.Leave)
	expect(t, client, "10.0.0.100:80", "silent", "the director has ended")

	var next *Guard
	host.Do(func() (err error) { next, err = New(nil, nil); return err })
	t.Cleanup(func() { next.Close() })
	g = next
	silence(nil, tcp6)
	expect(t, client, "10.0.0.100:80", "refused", "the next director has another service")
	silence([]Match{{Dst: netip.MustParsePrefix("10.0.0.100/32"), Proto: 6, DstPorts: [2]uint16{1000, 1010}}}, Tuple{Proto: 6, Addr: netip.MustParseAddr("fd00::100")})
	expect(t, client, "10.0.0.100:1005", "silent", "its port has a mark")
	expect(t, client, "10.0.0.100:1011", "refused", "this one has none")
	expect(t, client, "[fd00::100]:4711", "silent", "the service has all ports")
	silence(nil)
	expect(t, client, "10.0.0.100:1005", "refused", "no service is left")
}

func TestSilenceEndsWithADirectorWhoseHostHasNoAddress(t *testing.T) {
	_, host, _ := lan(t)
	g := newGuard(t, host)
	there := func() (is bool) {
		host.Do(func() error { is = hasSilence(); return nil })
		return is
	}
	many := make([]Tuple, 10_000)
	for i := range many {
		many[i] = Tuple{6, netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 80}
	}
	host.Do(func() error { return g.Silence(many, nil, "") })
	if !there() {
		t.Fatal("there is no table for many services")
	}
	host.Do(func() error { g.EndSilence(); return nil })
	if there() {
		t.Error("the table stays although the host has none of the addresses")
	}
	host.Addr("d0", "10.2.0.7/32")
	host.Do(func() error { return g.Silence(many, nil, "") })
	host.Do(func() error { g.EndSilence(); return nil })
	if !there() {
		t.Error("the table is gone although the host has one of the addresses")
	}
	host.Do(func() error {
		removed, err := Remove()
		if !slices.Contains(removed, "inet "+silenceName) {
			t.Errorf("Remove removes %v, %v", removed, err)
		}
		return nil
	})
	if there() {
		t.Error("it is still there")
	}
}
