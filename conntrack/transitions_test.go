package conntrack

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// transition is one line of testdata/transitions.jsonl, recorded from Linux 6.1
// IPVS with sloppy_tcp and sloppy_sctp on: the state of a connection after the packets of Path
// ("c:" from the client, "s:" from the server). Lines with Reuse instead say whether a
// following SYN or INIT is scheduled as a new connection.
type transition struct {
	Proto       string   `json:"proto"`
	Mode        string   `json:"mode"`
	Secure      int      `json:"secure"`
	Path        []string `json:"path"`
	State       string   `json:"state"`
	Expires     int      `json:"expires"`
	Reuse       *int     `json:"reuse"`
	Rescheduled bool     `json:"rescheduled"`
}

func transitions(t *testing.T) (all []transition) {
	b, err := os.ReadFile("testdata/transitions.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var x transition
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	return all
}

var chunkTypes = map[string]byte{"DATA": 0, "INIT": 1, "INIT_ACK": 2, "SACK": 3, "HEARTBEAT": 4, "ABORT": 6, "SHUTDOWN": 7,
	"SHUTDOWN_ACK": 8, "ERROR": 9, "COOKIE_ECHO": 10, "COOKIE_ACK": 11, "SHUTDOWN_COMPLETE": 14}

// chunks returns an SCTP packet of 8-byte chunks, named as "COOKIE_ECHO+DATA".
func chunks(names string) []byte {
	b := make([]byte, 12)
	for name := range strings.SplitSeq(names, "+") {
		b = append(b, chunkTypes[name], 0, 0, 8, 'a', 'b', 'c', 'd')
	}
	return b
}

// follow plays the packets of a path and returns the connection, nil if none of them opened
// one.
func (x *transition) follow(t *testing.T, r *Reader, now Tick) *Conn {
	rules := DefaultRules()
	rules.SecureTCP = x.Secure != 0
	rules.SloppyTCP, rules.SloppySCTP = true, true
	method := map[string]sched.Method{"NAT": sched.Masq, "DR": sched.Route}[x.Mode]
	proto := map[string]uint8{"tcp": frame.ProtoTCP, "sctp": frame.ProtoSCTP}[x.Proto]
	n := conn(proto, "172.16.0.9:2000", "10.0.0.101:80", "10.1.0.5:8080", method)
	var c *Conn
	for _, step := range x.Path {
		who, what, _ := strings.Cut(step, ":")
		ev, opens := TCPEvent(flagBits(step)), rules.OpensTCP(flagBits(step))
		if proto == frame.ProtoSCTP {
			ev, _ = SCTPEvent(chunks(what))
			opens = rules.OpensSCTP(chunks(what))
		}
		if c == nil && !opens {
			return nil
		}
		if c == nil {
			c, _ = r.Insert(&n, now)
		}
		dir := Request
		if who == "s" {
			dir = Reply
		}
		if who == "c" || c.Translated() {
			r.t.Advance(c, ev, dir, now, rules)
		}
	}
	return c
}

func TestEveryTransitionIsTheRecordedOne(t *testing.T) {
	checked := 0
	for _, x := range transitions(t) {
		table := newTable(t, Config{Capacity: 4})
		r := table.Reader()
		c := x.follow(t, r, 10)
		name := fmt.Sprintf("%s %s secure=%d %s", x.Proto, x.Mode, x.Secure, strings.Join(x.Path, " "))
		switch {
		case (c == nil) != (x.State == ""):
			t.Errorf("%s: connection %v, want state %q", name, c != nil, x.State)
		case c == nil:
		case c.StateName() != x.State:
			t.Errorf("%s: %s, want %s", name, c.StateName(), x.State)
		case x.Reuse != nil:
			if got := c.Reusable(*x.Reuse); got != x.Rescheduled {
				t.Errorf("%s, conn_reuse_mode=%d: reusable %v, want %v", name, *x.Reuse, got, x.Rescheduled)
			}
		default:
			if got := int(c.Expires(10).Seconds()); got < x.Expires || got > x.Expires+5 {
				t.Errorf("%s: %d s left, want %d", name, got, x.Expires)
			}
		}
		checked++
	}
	if checked < 1000 {
		t.Errorf("only %d transitions in testdata", checked)
	}
}

func TestActiveAreTheStatesIPVSCounts(t *testing.T) {
	active := map[string][]string{
		"tcp":  {"ESTABLISHED", "SYN_SENT", "SYN_RECV", "SYNACK"},
		"sctp": {"ESTABLISHED"},
	}
	for _, x := range transitions(t) {
		c := x.follow(t, newTable(t, Config{Capacity: 4}).Reader(), 10)
		if c == nil {
			continue
		}
		if want := slices.Contains(active[x.Proto], c.StateName()); c.Has(Inactive) == want {
			t.Errorf("%s %v: %s counts as active: %v", x.Proto, x.Path, c.StateName(), !want)
		}
	}
}

func TestSCTPEventReadsTheFirstChunk(t *testing.T) {
	for _, tt := range []struct {
		name string
		l4   []byte
		want Event
		ok   bool
	}{
		{"a chunk that is cut off means nothing", chunks("INIT")[:15], 0, false},
		{"the first of several chunks counts", chunks("DATA+ABORT"), sctpData, true},
		{"but ABORT behind COOKIE ECHO counts", chunks("COOKIE_ECHO+ABORT"), sctpAbort, true},
		{"and behind COOKIE ACK", chunks("COOKIE_ACK+ABORT"), sctpAbort, true},
		{"a cut-off second chunk does not", chunks("COOKIE_ECHO+ABORT")[:21], sctpCookieEcho, true},
		{"a length below its own header is no step ahead", append(chunks("COOKIE_ECHO")[:14], 0, 3, 6, 0, 0, 8), sctpCookieEcho, true},
		{"a length beyond the end is no step ahead", append(chunks("COOKIE_ECHO")[:14], 255, 255, 6, 0, 0, 8), sctpCookieEcho, true},
		{"what has no name is data", append(chunks("DATA")[:12], 200, 0, 0, 4), sctpData, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := SCTPEvent(tt.l4); got != tt.want || ok != tt.ok {
				t.Errorf("got %d, %v, want %d, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func FuzzSCTPEvent(f *testing.F) {
	f.Add(chunks("COOKIE_ECHO+ABORT"))
	f.Add(chunks("INIT")[:15])
	f.Fuzz(func(t *testing.T, l4 []byte) {
		if ev, ok := SCTPEvent(l4); ev >= sctpEvents || ok != (len(l4) >= 16) {
			t.Errorf("event %d, %v for %d bytes", ev, ok, len(l4))
		}
		(&Rules{SloppySCTP: true}).OpensSCTP(l4)
	})
}
