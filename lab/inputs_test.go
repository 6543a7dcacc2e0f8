package lab_test

import (
	"encoding/binary"
	"os/exec"
	"testing"

	"uvs/forwarder/frame"
	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
)

// from returns a SYN to the web service from an address.
func (a *attacker) from(src [4]byte, port uint16) []byte {
	syn := segment(frame.FlagSYN, 5, 0)
	binary.BigEndian.PutUint16(syn, port)
	return a.packet(6, syn, func(ip []byte) { copy(ip[12:], src[:]) })
}

// until sends packets until a counter of the director increases.
func (a *attacker) until(l *lab.Lab, what, counter string, make func(port uint16) []byte) {
	a.t.Helper()
	before, port := counters(a.t, l)[counter], uint16(2000)
	nstest.Eventually(a.t, what+": "+counter, func() bool {
		port++
		a.send(make(port))
		return counters(a.t, l)[counter] > before
	})
}

// TestRPFilterIsFollowed sets rp_filter while the director runs.
func TestRPFilterIsFollowed(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	flows(t, l)
	a := newAttacker(t, l)
	switches := func(value string) {
		sh(t, l, "director", "for i in all eth0; do echo "+value+" > /proc/sys/net/ipv4/conf/$i/rp_filter; done")
	}
	spoofed := func(port uint16) []byte { return a.from([4]byte{192, 168, 166, 77}, port) } // of the servers' network
	switches("0")
	a.until(l, "without rp_filter the servers' network may be the source", "forward", spoofed)
	switches("1")
	a.until(l, "strict", "drop-rp-filter", spoofed)
	flows(t, l)
	switches("2")
	a.until(l, "loose", "forward", spoofed)
	a.until(l, "loose, from nowhere", "drop-rp-filter", func(port uint16) []byte { return a.from([4]byte{203, 0, 113, 1}, port) })
	flows(t, l)
}

// TestAnEgressChainIsTheFirewall drops what the director forwards in an nftables chain at the
// egress hook.
func TestAnEgressChainIsTheFirewall(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		labtest.Skip(t, "no nft: "+err.Error())
	}
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	flows(t, l)
	a := newAttacker(t, l)
	sh(t, l, "director", `nft -f - <<'EOF'
table inet firewall {
	chain input { type filter hook input priority 0; policy drop; }
	chain forward { type filter hook forward priority 0; policy drop; }
	chain output { type filter hook output priority 0; policy drop; }
}
EOF`)
	flows(t, l) // none of these chains sees what the director forwards
	sh(t, l, "director", `nft delete table inet firewall; nft -f - <<'EOF'
table netdev firewall {
	chain out { type filter hook egress device eth1 priority 0; policy accept; tcp dport 80 drop; }
}
EOF`)
	a.until(l, "an egress chain drops what is forwarded", "drop-send", func(port uint16) []byte { return a.from(a.own, port) })
	sh(t, l, "director", "nft delete table netdev firewall")
	flows(t, l)
}
