package neigh

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func (k *fakeKernel) toldNow() map[key][6]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[key][6]byte{}
	for n, mac := range k.told {
		all[n] = mac
	}
	return all
}

func TestTheHostIsToldOfOwnedAddressesOnItsNetworks(t *testing.T) {
	compare := cmp.Options{cmp.AllowUnexported(key{}), cmpopts.EquateComparable(netip.Addr{})}
	run(t, Config{HostEntries: true}, twoLinks(), func(b *bench) {
		expect := func(when string, want map[key][6]byte) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, b.kernel.toldNow(), compare); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", when, diff)
			}
		}
		both := map[key][6]byte{{eth0, ip("10.0.0.100")}: macEth0, {eth1, ip("fd00:1::100")}: macEth1}
		b.SetOwned([]netip.Addr{
			ip("10.0.0.100"), ip("fd00:1::100"),
			ip("10.0.0.2"),  // the host has it itself
			ip("192.0.2.1"), // by a gateway, whose address is asked for
		})
		time.Sleep(time.Millisecond)
		expect("at once", both)

		b.kernel.mu.Lock()
		b.kernel.told = nil
		b.kernel.mu.Unlock()
		time.Sleep(hostEntryRefresh)
		expect("again, before entries age", both)

		b.kernel.change(func(s *state) {
			a, routes := net4(eth0, "10.0.0.100/32")
			s.addrs, s.routes = append(s.addrs, a), append(s.routes, routes...)
		})
		time.Sleep(time.Second)
		expect("the host got the address itself", map[key][6]byte{{eth1, ip("fd00:1::100")}: macEth1})

		b.SetOwned(nil)
		time.Sleep(time.Millisecond)
		expect("nothing is owned any more", map[key][6]byte{})
	})
}
