package doctor

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strings"
	"testing"

	"uvs/lab"
)

func TestEveryCodeHasItsSectionAndEveryFaultItsCode(t *testing.T) {
	b, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Codes {
		if !strings.Contains(string(b), "\n## "+c.Code+" "+c.Name+"\n") {
			t.Errorf("docs/doctor.md has no section %s %s", c.Code, c.Name)
		}
	}
	if n := strings.Count(string(b), "\n## LVS"); n != len(Codes) {
		t.Errorf("docs/doctor.md has %d sections, there are %d codes", n, len(Codes))
	}
	for i := range lab.Faults {
		f := &lab.Faults[i]
		if c := codeOf(f.Code); c.Name != f.Name {
			t.Errorf("the fault %s is called %s, its code %s", f.Code, f.Name, c.Name)
		}
	}
}

func TestRulesOfPacketFiltersAreRead(t *testing.T) {
	const ruleset = `table netdev uvs { # handle 1 progname uvs
	flags owner
	chain ip { # handle 33
		@nh,128,32 . meta l4proto . th dport @virtual drop # handle 63
	}
}
table inet filter { # handle 2
	set blocked { # handle 9
		type ipv4_addr
	}
	chain input { # handle 1
		type filter hook input priority filter; policy drop;
		ct state invalid drop # handle 2
		tcp dport { 80, 443 } accept # handle 3
		ip daddr 10.0.0.0/24 udp dport 53 reject # handle 4
		tcp dport 8000-8080 drop # handle 5
		tcp sport 80 drop # handle 6
	}
}
`
	rules := parseNFT(ruleset)
	web, dns := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.7")
	for _, c := range []struct {
		at        int
		drops     bool
		proto     string
		to        netip.Addr
		port      uint16
		concerned bool
	}{
		{0, true, "tcp", web, 80, true},    // the policy
		{1, false, "tcp", web, 80, true},   // what is invalid only
		{2, false, "tcp", web, 443, true},  // accepts
		{3, true, "udp", dns, 53, true},    // the network
		{3, true, "udp", web, 53, false},   // another address
		{3, true, "tcp", dns, 53, false},   // another protocol
		{4, true, "tcp", web, 8080, true},  // in the range
		{4, true, "tcp", web, 8081, false}, // beyond it
		{5, true, "tcp", web, 80, true},    // replies
		{5, true, "tcp", web, 8080, false}, // replies of others
	} {
		r := rules[c.at]
		if r.drops() != c.drops || r.concerns(c.proto, []netip.Addr{c.to}, c.port) != c.concerned {
			t.Errorf("%q, %s to %s:%d: drops %v, concerned %v", r.Text, c.proto, c.to, c.port, r.drops(), !c.concerned)
		}
	}
	if len(rules) != 6 || rules[0].Delete != "nft 'chain inet filter input { policy accept; }'" ||
		rules[4].Delete != "nft delete rule inet filter input handle 5" || rules[4].Hook != "input" {
		t.Errorf("rules: %+v", rules)
	}
}

func TestRulesOfIPTablesAreRead(t *testing.T) {
	rules := parseIPTables("iptables-legacy", `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
-A INPUT -d 10.0.0.100/32 -p tcp -m tcp --dport 80 -j DROP
COMMIT
`)
	if len(rules) != 2 || rules[0].Delete != "iptables-legacy -t filter -P FORWARD ACCEPT" ||
		rules[1].Delete != "iptables-legacy -t filter -D INPUT -d 10.0.0.100/32 -p tcp -m tcp --dport 80 -j DROP" {
		t.Fatalf("rules: %+v", rules)
	}
	vip := netip.MustParseAddr("10.0.0.100")
	if !rules[1].drops() || !rules[1].concerns("tcp", []netip.Addr{vip}, 80) || rules[1].concerns("tcp", []netip.Addr{vip.Next()}, 80) {
		t.Errorf("%q is misread", rules[1].Text)
	}
}

func TestSocketsAreReadAsTheKernelWritesThem(t *testing.T) {
	for text, want := range map[string]string{
		"3FFD10AC:0050":                         "172.16.253.63:80",
		"00000000000000000000000000000000:0016": "[::]:22",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
	} {
		if got := endpoint(text).String(); got != want && hostIsLittleEndian() {
			t.Errorf("%s is %s, %s expected", text, got, want)
		}
	}
}

func TestTheFirstPacketOfATrackedConnectionIsMeant(t *testing.T) {
	line := "ipv4 2 tcp 6 119 SYN_SENT src=172.16.253.36 dst=172.16.253.63 sport=4242 dport=80 [UNREPLIED] src=172.16.253.63 dst=172.16.253.36 sport=80 dport=4242"
	if got := trackedTo(line); got != "172.16.253.63:80" {
		t.Error(got)
	}
}

func TestTheStatusIsThatOfTheWorstFinding(t *testing.T) {
	for want, r := range []Report{
		{},
		{Findings: []Finding{{Severity: Warning}}},
		{Findings: []Finding{{Severity: Warning}, {Severity: Error}}},
	} {
		if got := r.Status(); got != want {
			t.Errorf("status %d, %d expected", got, want)
		}
	}
}

func hostIsLittleEndian() bool {
	b := [2]byte{1, 0}
	return binary.NativeEndian.Uint16(b[:]) == 1
}
