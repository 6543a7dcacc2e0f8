package forwarder

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"uvs/forwarder/config"
)

// differ are the recorded cases in which the director differs, with the reason.
var differ = map[string]string{
	"10.2.0.31": "the server is the director itself: Local forwarding is not there yet",
}

func TestRecordedPackets(t *testing.T) {
	for _, owner := range []string{"of the host", "of the director alone"} {
		for _, file := range []string{"../modes/testdata/xform", "../modes/testdata/edges", "testdata/ftp", "testdata/ftp2"} {
			for _, tr := range lines[story](t, file+".jsonl") {
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
	for _, tr := range lines[story](t, "testdata/bypass.jsonl") {
		t.Run(tr.Case, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tr.replay(newTestbed(t, ""), true) })
		})
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
