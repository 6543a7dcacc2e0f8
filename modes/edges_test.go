package modes_test

import (
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/modes"
)

// TestRecordedEdges replays recordings of edge cases: MTUs, fragments, TOS and ECN, ICMP of
// every kind. Each has the ipvsadm commands it was made with.
func TestRecordedEdges(t *testing.T) {
	if _, err := os.Stat("testdata/edges.jsonl"); err != nil {
		t.Skip(err)
	}
	for _, r := range recordings(t, "testdata/edges.jsonl") {
		t.Run(r.Case, func(t *testing.T) {
			d := newDirector(t)
			for i := range 64 {
				d.locals[addr("10.3.0."+itoa(i))] = true
				d.locals[addr("fd00:3::"+hex.EncodeToString([]byte{byte(i)}))] = true
			}
			pmtu := true
			for _, line := range r.Setup {
				pmtu = pmtu && line != "net.ipv4.vs.pmtu_disc=0"
				d.setUp(line, pmtu)
			}
			for _, f := range r.Frames {
				in, _ := hex.DecodeString(f.Pkt)
				got := d.inject(f.Inject[0], in)
				if differs(r.Case, f.Inject+" "+f.Descr) == "" {
					compare(t, got, f)
				}
			}
		})
	}
}

// differs says why a frame is not compared with IPVS's; it is empty if it is.
func differs(name, descr string) string {
	for _, x := range []struct{ name, descr, why string }{
		{"client link", "id=51 DF", "a router refuses DF fragments one by one; here the datagram is refused when it is whole"},
		{"fragments by", "len=128 id=121 DF", "Linux gives the outer fragments of a DF datagram the identification 0, which mixes datagrams up"},
		{"IPv6 fragments by TUN", "plen=916", "Linux wraps what came in an atomic fragment into another; those are deprecated (RFC 8021)"},
		{"TOS and quotes", "len=43", "record route is neither filled in nor copied to answers"},
		{"tunnel", "< IP6", "IPVS does not tell clients of ICMPv6 errors about a tunnel"},
		{"IPv6 extension", "nh=0", "the bench that recorded it ignored frames with hop-by-hop options"},
	} {
		if strings.HasPrefix(name, x.name) && strings.Contains(descr, x.descr) {
			return x.why
		}
	}
	return ""
}

// compare compares what the director sent with what IPVS sent.
func compare(t *testing.T, got []sent, f recordedFrame) {
	t.Helper()
	var have, want []string
	for _, s := range got {
		have = append(have, string(s.side)+" "+hex.EncodeToString(blank(s.b)))
	}
	for _, o := range f.Out {
		b, _ := hex.DecodeString(o.Frame)
		want = append(want, o.Side+" "+hex.EncodeToString(blank(b)))
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s %s\nwanted %v (-want +got):\n%s", f.Inject, f.Descr, f.describe(), diff)
	}
}

func (f *recordedFrame) describe() (s []string) {
	for _, o := range f.Out {
		s = append(s, o.Side+" "+o.Descr)
	}
	return s
}

// setUp runs one command of a recording.
func (d *director) setUp(line string, pmtu bool) {
	w := strings.Fields(line)
	switch {
	case line == "ip link set r0 mtu 1400":
		d.mtus[1] = 1400
	case line == "ip link set c0 mtu 1400":
		d.mtus[0] = 1400
	case w[0] == "ipvsadm" && w[1] == "-a":
		d.setServer(w[2:], pmtu)
	}
}

func (d *director) setServer(w []string, pmtu bool) {
	proto := map[string]string{"-t": "tcp", "-u": "udp", "--sctp-service": "sctp"}[w[0]]
	name, rs := proto+" "+w[1], w[3]
	if !strings.HasSuffix(rs, "]") && strings.Count(rs, ":") == 0 {
		rs += w[1][strings.LastIndex(w[1], ":"):]
	}
	var typ config.TunnelType
	var flags config.TunnelFlags
	for i, x := range w {
		switch {
		case x == "gue":
			typ = config.GUE
		case x == "gre":
			typ = config.GRE
		case x == "--tun-csum":
			flags = config.TunnelCsum
		case x == "--tun-port" && w[i+1] != strconv.Itoa(6080):
			d.t.Fatal("port")
		}
	}
	switch {
	case strings.Contains(strings.Join(w, " "), " -m"):
		d.add(name, modes.NAT{}, rs)
	case strings.Contains(strings.Join(w, " "), " -g"):
		d.add(name, modes.DR{}, rs)
	default:
		d.addTunnel(name, rs, typ, flags, pmtu)
	}
}
