package forwarder

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/porttest"
)

// packetTrace is a recorded case: packets from clients (>) and real servers (<)
// with every frame that left for each.
type packetTrace struct {
	Case   string
	Setup  []string
	Frames []struct {
		Do                 []string // commands before it
		Inject, Pkt, Descr string
		Out                []struct{ Side, Frame, Descr string }
		Conns              []string // ipvsadm -Lcn after it, in recordings that have it
	}
}

// setups are the words before a frame of the recorded cases, by its number; @
// is the case's IPv4 virtual address, @6 that for IPv6.
var setups = map[string]map[int][]string{
	"10.2.0.1":   {0: pair("-t @:80", "10.1.0.1:8080 -m")},
	"10.2.0.2":   {0: pair("-u @:53", "10.1.0.1:5353 -m")},
	"fd00:2::3":  {0: both(pair("-t @6:80", "[fd00:1::1]:8080 -m"), pair("-u @6:53", "[fd00:1::1]:53 -m"))},
	"10.2.0.4":   {0: {"-A -t @:0 -s rr -p 60", "-a -t @:0 -r 10.1.0.1:0 -m"}},
	"10.2.0.5":   {0: pair("-t @:80", "10.1.0.1:80 -g")},
	"10.2.0.6":   {0: pair("-u @:53", "10.1.0.1:53 -g")},
	"fd00:2::7":  {0: both(pair("-t @6:80", "[fd00:1::1]:80 -g"), pair("-u @6:53", "[fd00:1::1]:53 -g"))},
	"10.2.0.8":   {0: {"-A -t @:0 -s rr -p 60", "-a -t @:0 -r 10.1.0.1:0 -g"}},
	"10.2.0.9":   {0: pair("-t @:80", "10.1.0.1:80 -i")},
	"fd00:2::b":  {0: both(pair("-t @6:80", "[fd00:1::1]:80 -i"), pair("-u @6:53", "[fd00:1::1]:53 -i"))},
	"fd00:2::e":  tunnelSetup6(20, "ipip"),
	"10.2.0.15":  tunnelSetup(21, "gue --tun-port 6080"),
	"fd00:2::10": tunnelSetup6(21, "gue --tun-port 6080"),
	"10.2.0.17":  tunnelSetup(22, "gue --tun-port 6080 --tun-csum"),
	"fd00:2::12": tunnelSetup6(22, "gue --tun-port 6080 --tun-csum"),
	"10.2.0.19":  tunnelSetup(23, "gue --tun-port 6080 --tun-remcsum"),
	"fd00:2::14": tunnelSetup6(23, "gue --tun-port 6080 --tun-remcsum"),
	"10.2.0.21":  tunnelSetup(24, "gre"),
	"fd00:2::16": tunnelSetup6(24, "gre"),
	"fd00:2::18": tunnelSetup6(25, "gre --tun-csum"),
	"10.2.0.25":  {0: {"-A -t @:80 -s rr"}, 1: {"-a -t @:80 -r 10.1.0.1:80 -m -w 0"}, 6: {"-A -t @6:80 -s rr"}},
	"10.2.0.26":  {0: {"-A -u @:80 -s rr"}, 1: {"-a -u @:80 -r 10.1.0.1:80 -m -w 0"}, 6: {"-A -u @6:80 -s rr"}},
	"10.2.0.28": {0: pair("-u @:53", "10.1.0.1:53 -m"), 1: pair("-t @:80", "10.1.0.1:80 -m"),
		2: {"sysctl nat_icmp_send=1"}},
	"10.2.0.29": {0: {"-A -u @:53 -s rr -o", "-a -u @:53 -r 10.1.0.1:5353 -m"}},
	"10.2.0.30": {0: append(pair("-t @:80", "10.1.0.1:80 -m"), "sysctl schedule_icmp=1")},
	"10.2.0.32": {0: pair("-u @:53", "10.7.0.1:53 -m"), 1: pair("-t @:80", "10.7.0.1:80 -g")},
	"10.2.0.33": {0: append(pair("-t @:80", "10.1.0.1 -i"), "sysctl pmtu_disc=0")},
	"10.2.0.35": {0: pair("--sctp-service @:2905", "10.1.0.1:2906 -m")},
}

func pair(service, server string) []string {
	return []string{"-A " + service + " -s rr", "-a " + service + " -r " + server}
}

func both(a, b []string) []string { return append(a, b...) }

func tunnelSetup(rs int, kind string) map[int][]string {
	server := fmt.Sprintf("10.1.0.%d -i --tun-type %s", rs, kind)
	return map[int][]string{0: both(pair("-t @:80", server), pair("-u @:53", server))}
}

func tunnelSetup6(rs int, kind string) map[int][]string {
	v4, v6, options := fmt.Sprintf("10.1.0.%d:53", rs), fmt.Sprintf("[fd00:1::%x]", rs), " -i --tun-type "+kind
	return map[int][]string{0: both(both(pair("-t @6:80", v6+":80"+options), pair("-u @6:53", v4+options)),
		pair("-u @:53", v6+":53"+options))}
}

// differ are the recorded cases that the director does not follow, and why.
var differ = map[string]string{
	"10.2.0.31": "the server is the director itself: Local forwarding is not there yet",
}

// differs says why one frame of a case is not held against the recording.
func differs(name, descr string) string {
	for _, x := range []struct{ name, descr, why string }{
		{"nonlocal", ">203.0.113.5 ", "IPVS lets pass what is not for the host; the director answers for every service"},
		{"client link", "id=51 DF", "a router refuses DF fragments one by one; here the datagram is refused when it is whole"},
		{"fragments by", "len=128 id=121 DF", "Linux gives the outer fragments of a DF datagram the identification 0, which mixes datagrams up"},
		{"IPv6 fragments by TUN", "plen=916", "Linux wraps what came in an atomic fragment into another; those are deprecated (RFC 8021)"},
		{"FTP: PASV", "id=11 ", "IPVS lets a repeated answer pass with the server's own address; here it is translated again"},
		{"TOS and quotes", "len=43", "record route is neither filled in nor copied to answers"},
		{"tunnel", "< IP6", "IPVS does not tell clients of ICMPv6 errors about a tunnel"},
		{"bypass", "id=1 UDP 1000>53", "the recorded kernel could not tell the client, with a source that is not its own"},
		{"bypass", "1002>80 [A]", "likewise with a reset; what a mark led here is routed instead"},
		{"bypass", "UDP 53>1009", "a mark here is not for ICMP: the message is the host's, which routes it"},
		{"IPv6 extension", "nh=0", "the bench that recorded it ignored frames with hop-by-hop options"},
	} {
		if strings.HasPrefix(name, x.name) && strings.Contains(descr, x.descr) {
			return x.why
		}
	}
	return ""
}

func TestRecordedPackets(t *testing.T) {
	for _, owner := range []string{"of the host", "of the director alone"} {
		for _, file := range []string{"../modes/testdata/xform", "../modes/testdata/edges", "testdata/ftp", "testdata/ftp2"} {
			for _, tr := range lines[packetTrace](t, file+".jsonl") {
				t.Run(fmt.Sprintf("%s with addresses %s", tr.Case, owner), func(t *testing.T) {
					if why := differ[tr.Case]; why != "" {
						t.Skip(why)
					}
					synctest.Test(t, func(t *testing.T) { tr.replay(newTestbed(t, ""), owner == "of the host") })
				})
			}
		}
	}
}

// Packets that a mark led to the director, and that it has no server for.
func TestRecordedBypass(t *testing.T) {
	for _, tr := range lines[packetTrace](t, "testdata/bypass.jsonl") {
		t.Run(tr.Case, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tr.replay(newTestbed(t, ""), true) })
		})
	}
}

func (tr *packetTrace) replay(b *testbed, host bool) {
	b.net.forward = true
	if host {
		b.net.local = isVirtual
	}
	name, setup := tr.Case, setups[tr.Case]
	if name == "nonlocal" { // the frames of the case before it, and some more
		name = flowOf(must(hex.DecodeString("000000000000000000000000" + "0800" + tr.Frames[0].Pkt))).Dst().String()
		setup = setups[name]
	}
	if setup == nil {
		setup = map[int][]string{0: tr.Setup}
	}
	words := virtuals(name)
	for i, f := range tr.Frames {
		for _, line := range slices.Concat(setup[i], f.Do) {
			b.do(words.Replace(line))
		}
		link, in := 1, must(hex.DecodeString(f.Pkt))
		if f.Inject == "<" {
			link = 2
		}
		out := b.deliver(link, arriving(link, in))
		var got, want []string
		for _, s := range out {
			got = append(got, "?CR"[s.link:s.link+1]+" "+hex.EncodeToString(porttest.Blank(s.b)))
		}
		for _, o := range f.Out {
			want = append(want, o.Side+" "+hex.EncodeToString(porttest.Blank(must(hex.DecodeString(o.Frame)))))
		}
		if diff := cmp.Diff(want, got); diff != "" && differs(tr.Case, f.Inject+" "+f.Descr) == "" {
			b.t.Errorf("frame %d %s %s (-recorded +got):\n%s", i, f.Inject, f.Descr, diff)
		}
		if f.Conns != nil {
			b.connections(f.Descr, f.Conns)
		}
	}
}

// connections compares the listing of connections; the recording has those of
// earlier cases, too, and took its time.
func (b *testbed) connections(after string, recorded []string) {
	b.t.Helper()
	for line := range strings.Lines(b.ipvsadm("-Lcn")) {
		f := strings.Fields(line)
		if len(f) != 6 || f[0] == "pro" {
			continue
		}
		if !slices.ContainsFunc(recorded, func(r string) bool {
			w := strings.Fields(r)
			return len(w) == 6 && w[2] == f[2] && w[3] == f[3] && w[4] == f[4] && w[5] == f[5] && near(f[1], w[1], 30)
		}) {
			b.t.Errorf("after %s there is\n%s, recorded\n%s", after, line, strings.Join(recorded, "\n"))
		}
	}
}

// virtuals replaces @ and @6 by the addresses of a case: 10.2.0.n and fd00:2::n.
func virtuals(name string) *strings.Replacer {
	n := 0
	if a, err := netip.ParseAddr(name); err == nil {
		n = int(a.As16()[15])
	}
	return strings.NewReplacer("@6", fmt.Sprintf("[fd00:2::%x]", n), "@", fmt.Sprintf("10.2.0.%d", n))
}

// do does one line of a setup.
func (b *testbed) do(line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "ipvsadm":
		b.ipvsadm(rest)
	case word == "sysctl", strings.HasPrefix(word, "net.ipv4.vs."):
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "sysctl "), "net.ipv4.vs."), "=")
		b.sysctl(name, int(value[0]-'0'))
	case word == "mark":
		b.mark(config.MarkRule{Dst: netip.MustParsePrefix(strings.TrimPrefix(rest, "77 ")), Mark: 77})
	case word == "ip":
		b.net.mtu = map[string]int{strings.Fields(line)[3]: 1400}
	default:
		b.ipvsadm(line)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
