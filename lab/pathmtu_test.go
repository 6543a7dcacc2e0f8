package lab_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"uvs/internal/nstest"
	"uvs/internal/web"
	"uvs/lab"
	"uvs/lab/labtest"
)

// TestPathMTU lowers the MTU of the path behind the director. A client that sends large
// segments with DF is told, by the director or through it, and goes on with
// smaller ones; one that allows fragments has them.
func TestPathMTU(t *testing.T) {
	for _, c := range []struct {
		name, topology string
		node, script   string
		mtu            string // that the client learns
	}{
		{"nat, at the director", "nat", "director", "ip route change 192.168.166.0/24 dev eth1 mtu 1300", "1300"},
		{"dr, at the director", "dr", "director", "ip route add 172.16.253.128/29 dev eth0 mtu 1300; ip route add 172.16.253.136/29 dev eth0 mtu 1300", "1300"},
		{"tun, by the outer header", "tun", "director", "true", "1480"},
		{"tun, at a router behind", "tun", "gateway", "ip route change 192.168.166.0/24 dev eth2 mtu 1250", "1230"},
		{"fullnat, at a router behind", "fullnat", "gateway", "ip route change 10.0.0.0/24 dev eth1 mtu 1200", "1192"},
		{"fullnat6, at a router behind", "fullnat6", "gateway", "ip -6 route add fd00:10::/64 dev eth1 metric 1 mtu 1400", "1380"},
		{"dr-gateway, at the director", "dr-gateway", "director", "ip route change 192.168.166.0/24 dev eth0 mtu 1300", "1300"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, c.topology, lab.Options{}))
			labtest.NeedIP(t)
			sh(t, l, c.node, c.script)
			nstest.Eventually(t, "the client learns mtu "+c.mtu, func() bool {
				post(t, l)
				post(t, l) // to the other server
				return strings.Contains(sh(t, l, "client", "ip route get "+l.Topology.VIP.String()), "mtu "+c.mtu)
			})
			sh(t, l, "client", "ip route flush cache; echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc")
			post(t, l) // without DF
		})
	}
}

// post sends a stream, at the speed that the path allows.
func post(t *testing.T, l *lab.Lab) {
	t.Helper()
	const n = 4 << 20
	client := l.HTTPClient("client")
	client.Timeout = patience
	want, _, _ := hash(web.Stream(n))
	resp, err := client.Post(url(l, "/sum"), "application/octet-stream", web.Stream(n))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(got), want) {
		t.Errorf("the server got %q", got)
	}
}
