package sim

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

const begun = `{"at":0,"do":"begin","service":{"name":"-t 10.0.0.1:80","scheduler":"rr","servers":[{"address":"10.1.0.1:80","weight":1},{"address":"10.1.0.2:80","weight":1}]}}`

// roundRobin is a recording of n connections by rr, of which every second lasts for ever.
func roundRobin(n int) string {
	var b strings.Builder
	fmt.Fprintln(&b, begun)
	for i := range n {
		line := fmt.Sprintf(`{"at":%d.25,"do":"%%s","conn":%d,"protocol":6,"client":"172.16.0.%d:4000","virtual":"10.0.0.1:80","server":"10.1.0.%d:80"}`, i, i+1, 1+i%10, 2-i%2)
		fmt.Fprintf(&b, line+"\n", "new")
		fmt.Fprintf(&b, line+"\n", "active")
		if i%2 == 0 {
			fmt.Fprintf(&b, line+"\n", "gone")
		}
	}
	return b.String()
}

func replayed(t *testing.T, recording string, o Otherwise) *Comparison {
	t.Helper()
	lines, err := ReadRecording(strings.NewReader(recording))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Replay(lines, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReplay(t *testing.T) {
	first, second := netip.MustParseAddrPort("10.1.0.1:80"), netip.MustParseAddrPort("10.1.0.2:80")
	for _, tt := range []struct {
		what      string
		recording string
		otherwise Otherwise
		want      string // moved, moved clients, recorded and replayed picks, peaks
	}{
		{"as it was, nothing moves", roundRobin(20), Otherwise{}, "0 0 [10 10] [10 10] [10 1]"},
		{"by lc, connections go where few are", roundRobin(20), Otherwise{Scheduler: "lc"}, "10 10 [10 10] [10 10] [5 5]"},
		{"by weight 0, a server gets nothing", roundRobin(20), Otherwise{Weights: map[netip.AddrPort]int32{first: 0}}, "10 5 [10 10] [0 20] [0 10]"},
		{"by weight, a server gets more", roundRobin(20), Otherwise{Scheduler: "wrr", Weights: map[netip.AddrPort]int32{second: 4}}, "10 5 [10 10] [4 16] [3 8]"},
		{"connections from before count for their server", strings.Replace(begun, `"weight":1}]`, `"weight":1,"active":2}]`, 1) + `
{"at":1,"do":"new","conn":1,"protocol":6,"client":"172.16.0.1:1","virtual":"10.0.0.1:80","server":"10.1.0.1:80"}
{"at":2,"do":"gone","conn":7,"server":"10.1.0.2:80","was_active":true}
{"at":2,"do":"gone","conn":8,"server":"10.1.0.2:80","was_active":true}
{"at":3,"do":"new","conn":2,"protocol":6,"client":"172.16.0.1:2","virtual":"10.0.0.1:80","server":"10.1.0.2:80"}`,
			Otherwise{Scheduler: "lc"}, "0 0 [1 1] [1 1] [0 2]"},
		{"a connection follows its template", begun + `
{"at":1,"do":"template","conn":1,"protocol":6,"client":"172.16.0.1:1","virtual":"10.0.0.1:80","server":"10.1.0.2:80"}
{"at":1,"do":"new","conn":2,"with":1,"protocol":6,"client":"172.16.0.1:1","virtual":"10.0.0.1:80","server":"10.1.0.2:80"}
{"at":2,"do":"new","conn":3,"with":1,"protocol":6,"client":"172.16.0.1:2","virtual":"10.0.0.1:80","server":"10.1.0.2:80"}`,
			Otherwise{Weights: map[netip.AddrPort]int32{second: 0}}, "2 1 [0 2] [2 0] [0 0]"},
		{"what was refused may find a server", begun + `
{"at":1,"do":"refused","protocol":6,"client":"172.16.0.1:1","virtual":"10.0.0.1:80"}`,
			Otherwise{}, "1 1 [0 0] [0 1] [0 0]"},
		{"servers come and go", begun + `
{"at":1,"do":"servers","service":{"name":"x","scheduler":"rr","servers":[{"address":"10.1.0.2:80","weight":1},{"address":"10.1.0.3:80","weight":1}]}}
{"at":2,"do":"new","conn":1,"protocol":6,"client":"172.16.0.1:1","virtual":"10.0.0.1:80","server":"10.1.0.3:80"}
{"at":3,"do":"new","conn":2,"protocol":6,"client":"172.16.0.1:2","virtual":"10.0.0.1:80","server":"10.1.0.2:80"}`,
			Otherwise{}, "0 0 [0 1 1] [0 1 1] [0 0 0]"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := replayed(t, tt.recording, tt.otherwise)
			var was, is []int
			var peak []int32
			for i := range c.Recorded.Servers {
				was, is = append(was, c.Recorded.Servers[i].Picks), append(is, c.Replayed.Servers[i].Picks)
				peak = append(peak, c.Replayed.Servers[i].PeakActive)
			}
			if got := fmt.Sprint(c.Moved, c.MovedClients, was, is, peak); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAWrongRecordingIsRefused(t *testing.T) {
	for _, tt := range []struct{ recording, want string }{
		{"", "the recording is empty"},
		{"{", "line 1: unexpected end of JSON input"},
		{`{"at":0,"do":"gone","server":"10.1.0.1:80"}`, `line 1: "gone": a recording has one "begin", in its first line`},
		{begun + "\n" + begun, `line 2: "begin": a recording has one "begin", in its first line`},
		{`{"at":0,"do":"begin"}`, `line 1: "begin" has a service`},
		{strings.Replace(begun, `"rr"`, `"rrr"`, 1), `line 1: there is no scheduler "rrr"`},
		{strings.Replace(begun, "10.1.0.2", "10.1.0.1", 1), "line 1: server 10.1.0.1:80: an address with a port, once"},
		{strings.Replace(begun, `"weight":1`, `"weight":-1`, 1), "line 1: server 10.1.0.1:80: weight -1: 0 or more"},
		{begun + "\n" + `{"at":-1,"do":"lost","lost":1}`, "line 2: at -1: earlier than the line before"},
		{begun + "\n" + `{"at":1,"do":"went"}`, `line 2: do "went" is not known`},
		{begun + "\n" + `{"at":1,"do":"gone"}`, "line 2: server is an address with a port"},
		{begun + "\n" + `{"at":1,"do":"new","server":"10.1.0.1:80"}`, "line 2: client and virtual are addresses with ports, of one family"},
	} {
		_, err := ReadRecording(strings.NewReader(tt.recording))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.60s: %v, want %s", tt.recording, err, tt.want)
		}
	}
}

func TestOtherwiseIsCheckedAgainstTheRecording(t *testing.T) {
	lines, err := ReadRecording(strings.NewReader(begun))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Replay(lines, Otherwise{Weights: map[netip.AddrPort]int32{netip.MustParseAddrPort("10.1.0.9:80"): 1}})
	if err == nil || err.Error() != "weight of 10.1.0.9:80: the recording has no such server" {
		t.Error(err)
	}
	if _, err = Replay(lines, Otherwise{Scheduler: "best"}); err == nil {
		t.Error("an unknown scheduler is taken")
	}
}

// FuzzReadRecording: whatever is read can be replayed.
func FuzzReadRecording(f *testing.F) {
	f.Add(roundRobin(3))
	f.Add(begun + "\n" + `{"at":1,"do":"refused","protocol":17,"client":"[2001:db8::1]:1","virtual":"[2001:db8::2]:80"}`)
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := ReadRecording(strings.NewReader(text))
		if err != nil {
			return
		}
		if _, err := Replay(lines, Otherwise{Scheduler: "wlc"}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnAnonymizerKeepsClientsApart(t *testing.T) {
	a := NewAnonymizer()
	line := func(client string) Line {
		return a.Line(Line{Do: New, Client: netip.MustParseAddrPort(client), Virtual: netip.MustParseAddrPort("10.0.0.1:80")})
	}
	one, again, two := line("172.16.0.9:1000"), line("172.16.0.9:2000"), line("172.16.0.10:1000")
	if one.Client.Addr() != again.Client.Addr() || one.Client.Addr() == two.Client.Addr() {
		t.Error(one.Client, again.Client, two.Client)
	}
	if b, _ := json.Marshal(one); strings.Contains(string(b), "172.16.0.9") || !netip.MustParsePrefix("240.0.0.0/4").Contains(one.Client.Addr()) {
		t.Errorf("%s", b)
	}
	if six := line("[2001:db8::1]:1"); !netip.MustParsePrefix("fd00::/8").Contains(six.Client.Addr()) {
		t.Error(six.Client)
	}
}
