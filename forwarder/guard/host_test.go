package guard

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestWhatTheHostSendsIsLedToTheLoopbackInterface(t *testing.T) {
	client, host, _ := lan(t)
	g := newGuard(t, host)
	if !g.RedirectsHost() {
		t.Skip("the kernel has no egress hook or no nft_fwd_netdev")
	}
	for _, c := range []struct{ server, client string }{{"10.0.0.2", "10.0.0.9"}, {"fd00::2", "fd00::9"}} {
		server := net.JoinHostPort(c.server, "8080")
		r := Rules{Links: []string{"d0"}, Servers: []Tuple{tuple(6, server)}, Host: true}
		listen(t, host, server)
		expect(t, client, server, "accepted", "nothing is guarded yet")
		set(host, g, r)
		seen := tap(t, host, "lo", netip.MustParseAddr(c.client))
		expect(t, client, server, "silent", "the server's replies are the director's")
		if seen(patience) == 0 {
			t.Error("the packet socket on lo saw no reply")
		}
		expect(t, host, server, "accepted", "the host's own connections to the server are its own")
		r.Host = false
		set(host, g, r)
		expect(t, client, server, "accepted", "the host's packets are left alone")
	}
}

func TestAVirtualServiceIsServedToClientsOnTheHost(t *testing.T) {
	_, host, _ := lan(t)
	host.Addr("d0", "10.0.0.100/32")
	g := newGuard(t, host)
	if !g.RedirectsHost() {
		t.Skip("the kernel has no egress hook or no nft_fwd_netdev")
	}
	r := Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.100:80")}}
	set(host, g, r)
	expect(t, host, "10.0.0.100:80", "refused", "the host's packets are left alone")
	r.Host = true
	set(host, g, r)
	seen := tap(t, host, "lo", netip.MustParseAddr("10.0.0.100"))
	expect(t, host, "10.0.0.100:80", "silent", "the service is the director's")
	if seen(patience) == 0 {
		t.Error("the packet socket on lo saw no request")
	}
}

func TestOneConnectionsRepliesToTheHostAreDropped(t *testing.T) {
	_, host, server := lan(t)
	g := newGuard(t, host)
	for _, c := range []struct{ server, host string }{{"10.1.0.11:80", "10.1.0.2:4000"}, {"[fd00:1::11]:80", "[fd00:1::2]:4000"}} {
		listen(t, server, c.server)
		set(host, g, Rules{Links: []string{"d0", "d1"}, Servers: []Tuple{tuple(6, c.server)}})
		reply := Reply{6, netip.MustParseAddrPort(c.server), netip.MustParseAddrPort(c.host)}
		from := func(port int, wait time.Duration) string {
			answer := ""
			host.Do(func() error {
				local := net.TCPAddrFromAddrPort(reply.To)
				local.Port = port
				d := net.Dialer{Timeout: wait, LocalAddr: local}
				conn, err := d.Dial("tcp", c.server)
				if answer = "accepted"; err != nil {
					answer = "silent"
					return nil
				}
				return conn.Close()
			})
			return answer
		}
		host.Do(func() error { return g.AddReply(reply) })
		if got := from(4000, aMoment); got != "silent" {
			t.Errorf("the held connection is %s", got)
		}
		if got := from(4001, patience); got != "accepted" {
			t.Errorf("another connection is %s", got)
		}
		host.Do(func() error { return g.RemoveReply(reply) })
		if got := from(4000, patience); got != "accepted" {
			t.Errorf("the released connection is %s", got)
		}
	}
}
