package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/config"
)

func TestEachVirtualAddressIsAskedForOnceInItsNetwork(t *testing.T) {
	for _, tt := range []struct {
		what   string
		change func(*Host)
		want   []string
	}{
		{"two services at an address", func(h *Host) { h.serve("192.0.2.100") }, []string{"192.0.2.100 eth0"}},
		{"an address in each network", func(h *Host) { h.serve("10.0.0.100") }, []string{"192.0.2.100 eth0", "10.0.0.100 eth1"}},
		{"two links in a network", func(h *Host) {
			h.Addresses = append(h.Addresses, Address{"eth1", netip.MustParsePrefix("192.0.2.2/24")}, Address{"lo", netip.MustParsePrefix("192.0.2.0/24")})
		}, []string{"192.0.2.100 eth0", "192.0.2.100 eth1"}},
		{"an address in no network, with a route", func(h *Host) {
			h.Routes = []Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: "eth0"}, {Dst: netip.MustParsePrefix("203.0.113.0/24"), Link: "eth1"}}
			h.serve("203.0.113.7")
		}, []string{"192.0.2.100 eth0", "203.0.113.7 eth1"}},
		{"an address in no network, without a route", func(h *Host) { h.serve("203.0.113.7") }, []string{"192.0.2.100 eth0"}},
		{"an address of IPv6, and a mark", func(h *Host) {
			h.serve("2001:db8::1")
			h.Director.Services = append(h.Director.Services, config.ServiceState{Service: config.Service{Key: config.Key{Mark: 7}}})
		}, []string{"192.0.2.100 eth0"}},
		{"a link that is down", func(h *Host) { h.Links[1].Up = false }, nil},
		{"a link that is no Ethernet", func(h *Host) { h.Links[1].MAC = "" }, nil},
		{"no director", func(h *Host) { h.Director = nil }, nil},
	} {
		t.Run(tt.what, func(t *testing.T) {
			h := natHost()
			tt.change(h)
			var got []string
			for _, q := range h.questions() {
				got = append(got, fmt.Sprint(q.addr, " ", q.link.Name))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("asked %v, want %v", got, tt.want)
			}
		})
	}
}

// serve adds a service at an address.
func (h *Host) serve(addr string) {
	k := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr(addr), Port: 443}
	h.Director.Services = append(h.Director.Services, config.ServiceState{Service: config.Service{Key: k}})
}

// slow is a director with many services whose servers take a time to answer.
type slow struct {
	services int
	each     time.Duration
	ok       bool
}

func (d slow) Services(context.Context) (all []config.ServiceState, err error) {
	for i := range d.services {
		k := config.Key{Proto: config.TCP, Addr: netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), Port: 80}
		all = append(all, config.ServiceState{Service: config.Service{Key: k}})
	}
	return append(all, config.ServiceState{Service: config.Service{Key: config.Key{Proto: config.UDP, Port: 53}}}), nil
}

func (d slow) CheckNow(ctx context.Context, ask config.CheckNow) ([]config.CheckState, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(d.each):
		return []config.CheckState{{Service: *ask.Service, VIP: config.ProbeResult{OK: d.ok}}}, nil
	}
}

func TestServersAreAskedForTenSeconds(t *testing.T) {
	for _, tt := range []struct {
		what       string
		d          slow
		asked      int
		left       int
		took       time.Duration
		notLooked  string
		interrupts time.Duration // 0: never
	}{
		{"all answer at once", slow{1000, time.Millisecond, true}, 1000, 0, time.Second, "", 0},
		{"many are silent", slow{1000, 1500 * time.Millisecond, false}, 3, 997, probeTime, "answers of servers: 997 services were not asked within 10s", 0},
		{"many are slow", slow{1000, 3 * time.Second, true}, 3, 997, probeTime, "answers of servers: 997 services were not asked within 10s", 0},
		{"somebody interrupts", slow{1000, 3 * time.Second, true}, 1, 0, 4 * time.Second, "answers of servers: context deadline exceeded", 4 * time.Second},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, began := t.Context(), time.Now()
				if tt.interrupts > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.interrupts)
					defer cancel()
				}
				all, err := probe(ctx, tt.d)
				if took := time.Since(began); len(all.States) != tt.asked || all.Left != tt.left || took != tt.took {
					t.Errorf("%d asked, %d left, %v; want %d, %d, %v", len(all.States), all.Left, took, tt.asked, tt.left, tt.took)
				}
				s := &Scene{Hosts: []*Host{natHost()}}
				s.Probed(all, err)
				if got := strings.Join(s.Hosts[0].Unseen, "; "); got != tt.notLooked {
					t.Errorf("not looked at: %q, want %q", got, tt.notLooked)
				}
			})
		})
	}
}
