package forwarder_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"uvs/conntrack"
	"uvs/forwarder"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/internal/control"
	"uvs/internal/ipvsadm"
	"uvs/modes"
	"uvs/sched"
)

// L3DSR is direct server return over routers: a packet goes to the real server's
// address, and DSCP tells the server which virtual address it was for (here the
// number is the address's last byte). The server answers the client itself.
var L3DSR = modes.Register(sched.Traits{Word: "l3dsr", Listed: "L3DSR", Option: "l3dsr"},
	func(modes.Settings) modes.Maker {
		return func(modes.Target) modes.Mode { return l3dsr{} }
	})

type l3dsr struct{ modes.DR }

// Request rewrites the destination and DSCP. IPv6 is left out.
func (m l3dsr) Request(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if !f.Is4() {
		return frame.DropUnsupported
	}
	if v := m.DR.Request(f, c); v != frame.Forward {
		return v
	}
	f.SetDestination(&c.Real, c.RealPort)
	ip := f.L3()
	old := [2]byte(ip[:2])
	ip[1] = c.Virtual[15]<<2 | ip[1]&3 // ECN stays (RFC 2474 section 3, RFC 3168 section 5)
	frame.Apply(ip[10:], frame.Delta(old[:], ip[:2]))
	return frame.Forward
}

// HiddenNAT is FULLNAT that never tells servers the client's address.
var HiddenNAT = modes.Register(
	sched.Traits{Word: "hidden", Listed: "Hidden", Option: "hidden", Letter: 'H', Translates: true, NeedsLocal: true},
	func(modes.Settings) modes.Maker {
		m := &modes.FullNAT{}
		return func(modes.Target) modes.Mode { return m }
	})

// admin returns a function that runs ipvsadm on a director.
func admin(t *testing.T, fw *forwarder.Forwarder) func(line string) string {
	return func(line string) string {
		t.Helper()
		var out, problems bytes.Buffer
		tool := &ipvsadm.Tool{Program: "ipvsadm", Director: control.NewLocal(fw), Names: ipvsadm.NewSystemNames(),
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems}
		if tool.Run(context.Background(), strings.Fields(line)) != 0 {
			t.Fatalf("ipvsadm %s: %s", line, problems.String())
		}
		return out.String()
	}
}

// holds fails unless text contains part.
func holds(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in\n%s", part, text)
	}
}

func TestAModeOfAnotherProgramWithoutReplies(t *testing.T) {
	fw, send := forwarder.NewTestbed(t)
	ipvsadm := admin(t, fw)
	ipvsadm("-A -t 10.2.0.41:80 -s rr")
	ipvsadm("-a -t 10.2.0.41:80 -r 10.1.0.7:8080 --l3dsr -w 3")

	out := send(1, forwarder.Segment(t, 1, "172.16.0.9:30001", "10.2.0.41:80", frame.FlagSYN, ""))
	if len(out) != 1 {
		t.Fatalf("%d frames leave", len(out))
	}
	const want = "02:00:00:01:00:07 172.16.0.9>10.1.0.7 tcp 30001>80" // a direct method maps no port
	if got := forwarder.Judge(t, out[0]); got != want || out[0][15] != 41<<2 {
		t.Errorf("out goes %s with TOS %#x, want %s with %#x", got, out[0][15], want, 41<<2)
	}

	holds(t, ipvsadm("-Ln"), "  -> 10.1.0.7:80                  L3DSR   3      1          0")
	holds(t, ipvsadm("-Sn"), "-a -t 10.2.0.41:80 -r 10.1.0.7:80 --l3dsr -w 3\n")
	expectJSON(t, fw, L3DSR, `"method":"l3dsr"`)
	reply := forwarder.Segment(t, 2, "10.1.0.7:80", "172.16.0.9:30001", frame.FlagSYN|frame.FlagACK, "")
	if out := send(2, reply); len(out) != 0 {
		t.Errorf("a packet of the server makes %d frames, but its replies do not come back", len(out))
	}
}

func TestAModeOfAnotherProgramWithLocalAddresses(t *testing.T) {
	fw, send := forwarder.NewTestbed(t)
	ipvsadm := admin(t, fw)
	ipvsadm("-A -t 10.2.0.1:80 -s rr")
	ipvsadm("--add-laddr -t 10.2.0.1:80 --laddr 10.1.200.1")
	ipvsadm("-a -t 10.2.0.1:80 -r 10.1.0.7:8080 -H")

	out := send(1, forwarder.Segment(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""))
	if len(out) != 1 {
		t.Fatalf("%d frames leave", len(out))
	}
	var local string
	for _, c := range fw.Connections() {
		local = c.Local.String()
	}
	holds(t, forwarder.Judge(t, out[0]), "10.1.200.1>10.1.0.7 tcp "+strings.TrimPrefix(local, "10.1.200.1:")+">8080")

	out = send(2, forwarder.Segment(t, 2, "10.1.0.7:8080", local, frame.FlagSYN|frame.FlagACK, ""))
	if len(out) != 1 {
		t.Fatalf("%d replies leave", len(out))
	}
	holds(t, forwarder.Judge(t, out[0]), "10.2.0.1>172.16.0.9 tcp 80>30001")

	holds(t, ipvsadm("-Ln"), "  -> 10.1.0.7:8080                Hidden  1      1          0")
	holds(t, ipvsadm("-Sn"), "-a -t 10.2.0.1:80 -r 10.1.0.7:8080 -H -w 1\n")
	expectJSON(t, fw, HiddenNAT, `"method":"hidden"`)
}

// expectJSON compares the method of the only server as the API returns it.
func expectJSON(t *testing.T, fw *forwarder.Forwarder, m sched.Method, want string) {
	t.Helper()
	server := fw.Services()[0].Servers[0].Server
	text, err := json.Marshal(server)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, string(text), want)
	var back config.Server
	if err := json.Unmarshal(text, &back); err != nil || back.Method != m {
		t.Errorf("%s is read as method %v, error %v", text, back.Method, err)
	}
}

func TestThereIsRoomForTwoMoreModes(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a third mode gets a number")
		}
	}()
	sched.Define(sched.Traits{Word: "third", Listed: "Third", Option: "third"})
}
