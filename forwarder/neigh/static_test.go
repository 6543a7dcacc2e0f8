package neigh

import (
	"net/netip"
	"testing"

	"uvs/forwarder/frame"
)

func TestStaticRoutesCountInTheirOrder(t *testing.T) {
	l := Link{Index: 3, MTU: 1500, MAC: [6]byte{2, 3}, Up: true, Ethernet: true}
	near, far := NewHop(l, [6]byte{2, 1}, netip.Addr{}), NewHop(l, [6]byte{2, 2}, netip.Addr{})
	s := &Static{Interfaces: []Link{l}, Routes: []StaticRoute{
		{netip.MustParsePrefix("10.1.0.0/16"), near},
		{netip.MustParsePrefix("10.0.0.0/8"), far},
	}}
	for _, tt := range []struct {
		dst  string
		want *Hop
	}{{"10.1.0.1", &near}, {"10.2.0.1", &far}, {"192.0.2.1", nil}} {
		h, v := s.Lookup(netip.MustParseAddr(tt.dst))
		switch {
		case tt.want == nil && (h != nil || v != frame.DropNoRoute):
			t.Errorf("%s: %v, %v; want no route", tt.dst, h, v)
		case tt.want != nil && (h == nil || *h != *tt.want || v != frame.Continue):
			t.Errorf("%s: %v, %v; want %v", tt.dst, h, v, tt.want)
		}
	}
}
