package tracefilter

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/sched"
)

// packetOf returns a parsed frame.
func packetOf(t testing.TB, p frametest.Packet) *frame.Frame {
	t.Helper()
	p.SrcMAC, p.DstMAC = [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	b := p.Bytes()
	f := new(frame.Frame)
	f.Reset(b, 0, len(b), len(b))
	var parser frame.Parser
	if v := parser.Parse(f); v != frame.Continue {
		t.Fatal(v)
	}
	return f
}

func tcp(t testing.TB, src, dst string, flags uint8) *frame.Frame {
	return packetOf(t, frametest.Packet{Src: src, Dst: dst, Transport: frametest.TCP(flags, 1, 1)})
}

// decidedOf is what is known of a packet afterwards.
func decidedOf(f *frame.Frame) *Decided {
	return &Decided{
		Verdict: "forward", Service: "tcp:10.0.0.100:80", Client: f.Flow.Source(), Server: netip.MustParseAddrPort("10.1.0.1:8080"),
		Flow: f.Flow, Info: f.Info, Length: f.Len(), Opened: true,
	}
}

func TestAFilterMatchesWhatItsWordsSay(t *testing.T) {
	syn := tcp(t, "172.16.0.9:5000", "10.0.0.100:80", frame.FlagSYN)
	for _, c := range []struct {
		text          string
		before, after Result
	}{
		{"", Yes, Yes},
		{"host 172.16.0.9", Yes, Yes},
		{"host 172.16.0.9 and port 80", Yes, Yes},
		{"host 172.16.0.8", No, No},
		{"172.16.0.9", Yes, Yes},
		{"src host 10.0.0.100", No, No},
		{"dst 10.0.0.100", Yes, Yes},
		{"src net 172.16.0.0/24", Yes, Yes},
		{"net 172.17.0.0/16", No, No},
		{"dst port 80", Yes, Yes},
		{"src port 80", No, No},
		{"port 443 or 80", Yes, Yes},
		{"portrange 5000-5010", Yes, Yes},
		{"tcp port 80", Yes, Yes},
		{"tcp and not udp", Yes, Yes},
		{"ip6 or arp or icmp", No, No},
		{"proto 6", Yes, Yes},
		{"proto udp", No, No},
		{"flags syn", Yes, Yes},
		{"flags syn,ack", No, No},
		{"tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", Yes, Yes},
		{"tcp[tcpflags] & tcp-syn != 0", Yes, Yes},
		{"tcp[tcpflags] == 2", Yes, Yes},
		{"less 100 && greater 40", Yes, Yes},
		{"greater 1000", No, No},
		{"on eth0", Yes, Yes},
		{"on eth1", No, No},
		{"verdict forward", Unknown, Yes},
		{"verdict drop", Unknown, No},
		{"not verdict drop", Unknown, Yes},
		{"verdict drop and port 81", No, No},
		{"verdict drop or port 80", Yes, Yes},
		{"service tcp:10.0.0.100:80", Unknown, Yes},
		{"service 10.0.0.100:80", Unknown, Yes},
		{"service mark:7", Unknown, No},
		{"server 10.1.0.1", Unknown, Yes},
		{"server 10.1.0.1:81", Unknown, No},
		{"client 172.16.0.9", Yes, Yes},
		{"client 172.16.0.9:5000", Yes, Yes},
		{"request", Unknown, Yes},
		{"reply", Unknown, No},
		{"new", Unknown, Yes},
		{"(host 10.0.0.1 or host 172.16.0.9) and !(port 443)", Yes, Yes},
		{"not not port 80", Yes, Yes},
		{"port 80 or port 81 and host 10.0.0.1", No, No}, // as tcpdump reads it: from left to right
	} {
		f, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := f.Match(&Packet{Frame: syn, Link: "eth0"}); got != c.before {
			t.Errorf("%s: %d before, want %d", c.text, got, c.before)
		}
		if got := f.Match(&Packet{Link: "eth0", Decided: decidedOf(syn)}); got != c.after {
			t.Errorf("%s: %d after, want %d", c.text, got, c.after)
		}
	}
}

func TestWhatTheConnectionTellsIsKnownBeforehand(t *testing.T) {
	request := tcp(t, "172.16.0.9:5000", "10.0.0.100:80", frame.FlagACK)
	conn := conntrack.Make(&request.Flow, sched.Masq, 0)
	conn.Real, conn.RealPort = netip.MustParseAddr("10.1.0.1").As16(), 8080
	reply := tcp(t, "10.1.0.1:8080", "172.16.0.9:5000", frame.FlagACK)
	for text, want := range map[string][2]Result{
		"server 10.1.0.1": {Yes, Yes}, "server 10.1.0.2": {No, No}, "client 172.16.0.9": {Yes, Yes}, "client 172.16.0.9:1": {No, No},
		"request": {Yes, No}, "reply": {No, Yes}, "new": {No, No},
	} {
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range []Packet{{Frame: request, Conn: &conn}, {Frame: reply, Conn: &conn, Reply: true}} {
			if got := f.Match(&p); got != want[i] {
				t.Errorf("%s of packet %d: %d, want %d", text, i, got, want[i])
			}
		}
	}
	syn := tcp(t, "172.16.0.9:5000", "10.0.0.100:80", frame.FlagSYN)
	f, _ := Parse("server 10.1.0.2")
	if got := f.Match(&Packet{Frame: syn, Conn: &conn}); got != Unknown {
		t.Errorf("of a SYN, which may begin another connection: %d", got)
	}
}

func TestAFilterTellsWhatOnlyADirectorKnows(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "host 10.0.0.1 and not (tcp port 80 or flags syn) and less 100 and on eth0": "",
		"port 80 or verdict drop": "verdict", "not service 10.0.0.1:80": "service", "port 1 and (port 2 or client 10.0.0.1)": "client",
		"server 10.0.0.1": "server", "request": "request", "reply": "reply", "new": "new",
	} {
		f, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.AsksDirector(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAnErrorNamesItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"host":                       "column 5: host needs a value",
		"host 10.0.0.x":              `column 6: "10.0.0.x" is no address`,
		"port 80 and":                "column 12: a condition is missing",
		"port 80 hots 10.0.0.1":      `column 9: "hots" is too much here`,
		"hots 10.0.0.1":              `column 1: "hots" is not known; expected one of host, net, port`,
		"(port 80":                   "column 9: a closing parenthesis is missing",
		"port 80)":                   `column 8: ")" is too much here`,
		"port 80000":                 `column 6: "80000" is no port from 0 to 65535`,
		"portrange 9-3":              `column 11: "9-3" is no range of ports`,
		"flags syn,sin":              `column 7: "sin" is no flag of TCP`,
		"verdict dropp":              `column 9: "dropp" is no verdict`,
		"net 10.0.0.0":               `column 5: "10.0.0.0" is no network`,
		"service here":               `column 9: "here" is no service`,
		"server here":                `column 8: "here" is neither an address nor`,
		"tcp[tcpflags] & tcp-syn":    "column 24: == or != is missing",
		"proto ospff":                `column 7: "ospff" is no protocol`,
		strings.Repeat("(", 1000):    "nested too deeply",
		strings.Repeat("not ", 1000): "nested too deeply",
	} {
		_, err := Parse(text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", text, err, want)
		}
	}
}

// FuzzParse reads any text, and asks what it made of it.
func FuzzParse(f *testing.F) {
	f.Add("host 10.0.0.1 and (port 80 or 443) and not verdict drop")
	f.Add("tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn")
	packets := []*frame.Frame{tcp(f, "172.16.0.9:5000", "10.0.0.100:80", frame.FlagSYN),
		packetOf(f, frametest.Packet{Src: "fd00::1", Dst: "fd00::2", Transport: &layers.UDP{}})}
	f.Fuzz(func(_ *testing.T, text string) {
		filter, err := Parse(text)
		if err != nil {
			return
		}
		for _, p := range packets {
			filter.Match(&Packet{Frame: p})
			filter.Match(&Packet{Decided: decidedOf(p)})
		}
	})
}

func BenchmarkNoMatch(b *testing.B) {
	f, _ := Parse("host 10.9.9.9 and port 443")
	p := Packet{Frame: tcp(b, "172.16.0.9:5000", "10.0.0.100:80", frame.FlagACK)}
	for b.Loop() {
		f.Match(&p)
	}
}
