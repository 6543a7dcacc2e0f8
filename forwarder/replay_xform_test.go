package forwarder

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
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

// differ are the recorded cases in which the director differs, with the reason.
var differ = map[string]string{
	"10.2.0.31": "the server is the director itself: Local forwarding is not there yet",
}

// differs returns why the answer to a frame may differ from the recording.
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

// Packets with a mark for whose service there is no server.
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
	for _, line := range tr.Setup {
		b.do(line)
	}
	for i, f := range tr.Frames {
		for _, line := range f.Do {
			b.do(line)
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

// connections compares the listing of connections; the recording took more time.
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

// do does one command of a recording: ipvsadm's words, sysctl NAME=VALUE, the MTU of a
// device, mark NUMBER PREFIX or mark NUMBER PROTOCOL ADDRESS PORTS.
func (b *testbed) do(line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "sysctl", strings.HasPrefix(word, "net.ipv4.vs."):
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "sysctl "), "net.ipv4.vs."), "=")
		b.sysctl(name, value)
	case word == "mark":
		b.markWords(strings.Fields(rest))
	case word == "ip":
		b.net.mtu = map[string]int{strings.Fields(line)[3]: 1400}
	default:
		b.ipvsadm(strings.TrimPrefix(line, "ipvsadm "))
	}
}

func (b *testbed) markWords(w []string) {
	n, _ := strconv.Atoi(w[0])
	r := config.MarkRule{Mark: uint32(n)}
	if len(w) == 2 {
		r.Dst = netip.MustParsePrefix(w[1])
	} else {
		dst := netip.MustParseAddr(w[2])
		r.Dst, r.Proto = netip.PrefixFrom(dst, dst.BitLen()), map[string]config.Proto{"tcp": config.TCP, "udp": config.UDP}[w[1]]
		fmt.Sscanf(w[3]+"-"+w[3], "%d-%d", &r.DstPorts.First, &r.DstPorts.Last)
	}
	b.mark(r)
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
