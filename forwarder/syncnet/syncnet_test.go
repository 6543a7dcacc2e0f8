package syncnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"uvs/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

// pair makes two interfaces that are one segment, with addresses.
func pair(t *testing.T) {
	t.Helper()
	nstest.Veth(t, "a", "b")
	for name, cidrs := range map[string][]string{"a": {"10.99.0.1/24", "fd99::1/64"}, "b": {"10.99.0.2/24", "fd99::2/64"}} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("0"), 0)
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0)
		_ = os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("0"), 0)
		_ = os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/accept_local", []byte("1"), 0)
		for _, cidr := range cidrs {
			a, err := netlink.ParseAddr(cidr)
			if err != nil {
				t.Fatal(err)
			}
			a.Flags = 0x02 // IFA_F_NODAD
			if err := netlink.AddrAdd(link, a); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("0"), 0)
}

func group(link, addr string) Group {
	return Group{Interface: link, Addr: netip.MustParseAddrPort(addr), TTL: 1, Buffer: 1 << 20}
}

func TestWhatIsSentToAGroupIsReceivedByItsInterfaceOnly(t *testing.T) {
	nstest.Need(t)
	pair(t)
	for _, c := range []struct{ group, other, from string }{
		{"224.0.0.81:8848", "224.0.0.82:8848", "10.99.0.1"},
		{"239.1.2.3:9000", "239.1.2.3:9001", "10.99.0.1"},
		{"[ff02::51]:8848", "[ff02::52]:8848", ""},
	} {
		t.Run(c.group, func(t *testing.T) {
			receive := func(link, addr string) Conn {
				r, err := UDP{}.Receiver(group(link, addr))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { r.Close() })
				return r
			}
			there, twice := receive("b", c.group), receive("b", c.group)
			quiet := []Conn{receive("a", c.group), receive("b", c.other)}
			s, err := UDP{}.Sender(group("a", c.group))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Write([]byte("an entry")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			for _, r := range []Conn{there, twice} {
				n, from, err := r.Read(b)
				if err != nil || string(b[:n]) != "an entry" || c.from != "" && from.String() != c.from {
					t.Errorf("read %q from %s: %v", b[:n], from, err)
				}
			}
			for i, r := range quiet {
				_ = r.SetReadDeadline(time.Now().Add(time.Millisecond))
				if n, _, err := r.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d: read %q, %v", i, b[:n], err)
				}
			}
		})
	}
}

func TestASocketThatSendsKnowsThatItsAddressIsGone(t *testing.T) {
	nstest.Need(t)
	pair(t)
	link, _ := netlink.LinkByName("a")
	for _, c := range []struct{ group, addr, other string }{
		{"224.0.0.81:8848", "10.99.0.1/24", "10.99.0.7/24"},
		{"[ff02::51]:8848", "", ""},
	} {
		s, err := UDP{}.Sender(group("a", c.group))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.Stale() {
			t.Errorf("%s: stale at once", c.group)
		}
		r, err := UDP{}.Receiver(group("a", c.group))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, other := range []string{c.other, ""} { // another address, and none
			all, _ := netlink.AddrList(link, netlink.FAMILY_ALL)
			for i := range all {
				if (all[i].IP.To4() != nil) == (c.addr != "") {
					_ = netlink.AddrDel(link, &all[i])
				}
			}
			if other != "" {
				a, _ := netlink.ParseAddr(other)
				if err := netlink.AddrAdd(link, a); err != nil {
					t.Fatal(err)
				}
			}
			if !s.Stale() || r.Stale() {
				t.Errorf("%s, address now %q: the sender is stale: %t, the receiver: %t", c.group, other, s.Stale(), r.Stale())
			}
		}
	}
}

func TestASocketKnowsThatItsInterfaceIsAnotherOne(t *testing.T) {
	nstest.Need(t)
	pair(t)
	r, err := UDP{}.Receiver(group("b", "224.0.0.81:8848"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Stale() {
		t.Error("stale at once")
	}
	link, _ := netlink.LinkByName("b")
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	if !r.Stale() {
		t.Error("not stale without the interface")
	}
	if _, err := (UDP{}).Sender(group("b", "224.0.0.81:8848")); err == nil {
		t.Error("a socket of no interface")
	}
	nstest.Veth(t, "c", "b")
	if _, err := net.InterfaceByName("b"); err != nil || !r.Stale() {
		t.Errorf("not stale with another interface of the name: %v", err)
	}
}
