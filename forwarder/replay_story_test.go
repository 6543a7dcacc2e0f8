package forwarder

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/porttest"
)

// story is a recorded sequence of commands, pauses and packets, with the frames that left and
// ipvsadm's listings after each.
type story struct {
	Case   string
	Setup  []string
	Frames []storyStep
}

// storyStep is one event of a story: a command, a pause or a packet.
type storyStep struct {
	Do                 commands
	Wait               float64 `json:",omitempty"` // seconds
	Inject, Pkt, Descr string  `json:",omitempty"`
	Out                []storyFrame
	At                 float64  `json:",omitempty"` // seconds since the beginning
	Look               float64  // when the listings were made; 0: only that of Conns, if there is one
	Conns              []string // ipvsadm -Lcn
	Servers            []string // ipvsadm -Ln, with --persistent-conn where the setup has -p
}

// commands are one command or a list.
type commands []string

// UnmarshalJSON reads either.
func (c *commands) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(c))
	}
	*c = []string{""}
	return json.Unmarshal(b, &(*c)[0])
}

type storyFrame struct{ Side, Frame, Descr string }

// storyFiles are recordings; each line is a story.
var storyFiles = []string{"testdata/stories.jsonl"}

func TestRecordedStories(t *testing.T) {
	for _, owner := range []string{"of the host", "of the director alone"} {
		for _, s := range stories(t) {
			t.Run(fmt.Sprintf("%s with addresses %s", s.Case, owner), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { s.replay(newTestbed(t, ""), owner == "of the host") })
			})
		}
	}
}

func stories(t testing.TB) (all []story) {
	files := storyFiles
	if f := os.Getenv("UVS_STORIES"); f != "" {
		files = strings.Split(f, ",")
	}
	for _, f := range files {
		all = append(all, lines[story](t, f)...)
	}
	return all
}

func (s *story) replay(b *testbed, host bool) {
	b.net.forward = true
	if host {
		b.net.local = isVirtual
	}
	for _, line := range s.Setup {
		b.do(line)
	}
	persistent := strings.Contains(strings.Join(s.Setup, " "), " -p")
	start := time.Now()
	until := func(at float64) { b.pass(time.Duration(at*float64(time.Second)) - time.Since(start)) }
	for i := range s.Frames {
		f := &s.Frames[i]
		for _, line := range f.Do {
			b.do(line)
		}
		if f.Inject != "" {
			until(f.At)
			b.storyPacket(s.Case, i, f)
		}
		after := fmt.Sprintf("step %d %s%s %s", i, f.Do, f.Inject, f.Descr)
		switch {
		case f.Look > 0:
			until(f.Look)
			b.listings(s.Case, after, f, persistent)
		case f.Conns != nil:
			b.connections(after, f.Conns)
		}
	}
}

// storyPacket sends a recorded packet and compares what leaves.
func (b *testbed) storyPacket(name string, i int, f *storyStep) {
	b.t.Helper()
	link, in := 1, must(hex.DecodeString(f.Pkt))
	if f.Inject == "<" {
		link = 2
	}
	var got, want []string
	for _, s := range b.deliver(link, arriving(link, in)) {
		got = append(got, "?CR"[s.link:s.link+1]+" "+hex.EncodeToString(porttest.Blank(s.b)))
	}
	for _, o := range f.Out {
		want = append(want, o.Side+" "+hex.EncodeToString(porttest.Blank(must(hex.DecodeString(o.Frame)))))
	}
	if diff := cmp.Diff(want, got); diff != "" && differs(name, f.Inject+" "+f.Descr) == "" {
		b.t.Errorf("step %d %s %s (-recorded +got):\n%s", i, f.Inject, f.Descr, diff)
	}
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
		{"ICMP in the middle", "ICMP type=13", "the host's answer to a timestamp request, which this test's host does not give"},
		{"method edited", "TCP 32633>80 [S]", "IPVS lost the first packet after the server had changed from -m to -g"},
		{"ICMP", "csumBAD", "an ICMP error with a wrong checksum ends at the director, whatever the method"},
		{"IPv6 fragments", "nh=44 plen=21", "Linux wraps what came in an atomic fragment into another; those are deprecated (RFC 8021)"},
		{"IPv6 extension", "nh=0", "the bench that recorded it ignored frames with hop-by-hop options"},
	} {
		if strings.HasPrefix(name, x.name) && strings.Contains(descr, x.descr) {
			return x.why
		}
	}
	return ""
}

// goneByDR reports whether a connection lasts 10 s longer in the recording. By DR or TUN and
// with expire_nodest_conn the connection of a removed server ends with its next packet here.
// In the kernel the host's RST, which looks like the server's, still finds it.
func goneByDR(name, conn string) bool {
	return strings.HasPrefix(name, "persistence weight 0 and removal by -g") && strings.Contains(conn, " CLOSE ")
}

// listings compares ipvsadm's listings with the recorded ones.
func (b *testbed) listings(name, after string, f *storyStep, persistent bool) {
	b.t.Helper()
	var servers []string
	conns := b.connLines()
	words := "-Ln"
	if persistent {
		words += " --persistent-conn"
	}
	for i, line := range strings.Split(strings.TrimSpace(b.ipvsadm(words)), "\n") {
		if i >= 3 {
			servers = append(servers, strings.Join(strings.Fields(line), " "))
		}
	}
	slack := 1 + int(math.Ceil(f.Look-f.At)) // the listings took their time
	if f.At == 0 {
		slack = 3
	}
	recorded := slices.DeleteFunc(slices.Clone(f.Conns), func(c string) bool { return goneByDR(name, c) })
	same, expiring := sameConnections(recorded, conns, slack)
	if !same {
		b.t.Errorf("%s: connections\n%s\nrecorded\n%s", after, strings.Join(conns, "\n"), strings.Join(f.Conns, "\n"))
	}
	if !expiring && !slices.Equal(f.Servers, servers) {
		b.t.Errorf("%s: servers\n%s\nrecorded\n%s", after, strings.Join(servers, "\n"), strings.Join(f.Servers, "\n"))
	}
}

// connLines returns the lines of ipvsadm -Lcn.
func (b *testbed) connLines() (lines []string) {
	for line := range strings.Lines(b.ipvsadm("-Lcn")) {
		if w := strings.Fields(line); len(w) == 6 && w[0] != "pro" {
			lines = append(lines, strings.Join(w, " "))
		}
	}
	return lines
}

// sameConnections compares listings of connections in any order. The recorded time left may
// be up to slack seconds more than ours, or one less. So one listing may have a connection
// that has just ended in the other: then their counts differ too.
func sameConnections(recorded, ours []string, slack int) (same, expiring bool) {
	ours = slices.Clone(ours)
	for _, x := range recorded {
		i := slices.IndexFunc(ours, func(y string) bool {
			p, q := strings.Fields(x), strings.Fields(y)
			d := secondsOf(p[1]) - secondsOf(q[1])
			p[1], q[1] = "", ""
			rearmed := p[2] != "UDP" && d <= -60+slack+1 && d >= -60 // a template, for the connections it has
			return slices.Equal(p, q) && (d >= -1 && d <= slack || rearmed)
		})
		switch {
		case i >= 0:
			ours = slices.Delete(ours, i, i+1)
		case secondsOf(strings.Fields(x)[1]) < slack:
			expiring = true
		default:
			return false, expiring
		}
	}
	for _, y := range ours {
		if secondsOf(strings.Fields(y)[1]) > 0 {
			return false, expiring
		}
		expiring = true
	}
	return true, expiring
}

func secondsOf(clock string) int {
	m, s, _ := strings.Cut(clock, ":")
	minutes, _ := strconv.Atoi(m)
	sec, _ := strconv.Atoi(s)
	return 60*minutes + sec
}
