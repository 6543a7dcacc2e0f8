package journey_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/tracefilter"
	"uvs/lab"
	"uvs/lab/capture"
	"uvs/lab/journey"
	"uvs/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// bed has frames pass links, a millisecond after each other.
type bed struct {
	t        *testing.T
	topology lab.Topology
	links    []capture.Link
	frames   []capture.Frame
	at       time.Time
}

func newBed(t *testing.T, topology string) *bed {
	b := &bed{t: t, topology: labtest.Build(t, topology, lab.Options{}), at: time.Unix(1700000000, 0)}
	b.links = capture.Links(&b.topology)
	return b
}

func (b *bed) link(name string) (*capture.Link, [6]byte) {
	i := slices.IndexFunc(b.links, func(l capture.Link) bool { return l.String() == name })
	if i < 0 {
		b.t.Fatalf("no link %s", name)
	}
	l := &b.links[i]
	node := slices.IndexFunc(b.topology.Nodes, func(n lab.Node) bool { return n.Name == l.Node })
	return l, [6]byte(b.topology.MAC(node, int(name[len(name)-1]-'0')))
}

// see notes that a packet was seen, "client:eth0 out" say, on its way between two links.
func (b *bed) see(sight string, p frametest.Packet, from, to string) {
	name, direction, _ := strings.Cut(sight, " ")
	l, _ := b.link(name)
	_, p.SrcMAC = b.link(from)
	if _, p.DstMAC = b.link(from); to == "all" {
		p.DstMAC = [6]byte{255, 255, 255, 255, 255, 255}
	} else if to == "nobody" {
		p.DstMAC = [6]byte{2, 9, 9, 9, 9, 9}
	} else {
		_, p.DstMAC = b.link(to)
	}
	bytes := p.Bytes()
	b.add(l, direction == "out", bytes)
}

func (b *bed) add(l *capture.Link, out bool, bytes []byte) {
	b.at = b.at.Add(time.Millisecond)
	b.frames = append(b.frames, capture.Frame{Link: l, Time: b.at, Out: out, Kind: unix.PACKET_HOST, Bytes: bytes, Length: len(bytes)})
}

// pass has a packet go over a cable.
func (b *bed) pass(from, to string, p frametest.Packet) {
	b.see(from+" out", p, from, to)
	b.see(to+" in", p, from, to)
}

// told returns what is printed of the journeys.
func (b *bed) told(filter string) string {
	b.t.Helper()
	f, err := tracefilter.Parse(filter)
	if err != nil {
		b.t.Fatal(err)
	}
	tracker := journey.NewTracker(&b.topology, f, true)
	all := tracker.Frames(b.frames, b.at)
	all = append(all, tracker.Frames(nil, b.at.Add(time.Second))...)
	var text strings.Builder
	p := journey.NewPrinter(&text, false)
	for _, j := range append(all, tracker.End()...) {
		if err := p.Print(j); err != nil {
			b.t.Fatal(err)
		}
		if _, err := json.Marshal(j); err != nil {
			b.t.Fatal(err)
		}
	}
	return text.String()
}

func (b *bed) want(want string) {
	b.t.Helper()
	var lines []string
	for line := range strings.Lines(b.told("")) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	if diff := cmp.Diff(strings.TrimSpace(want), strings.Join(lines, "\n")); diff != "" {
		b.t.Error(diff)
	}
}

// between returns a segment without data, or with data that stands for itself.
func between(src, dst string, flags uint8, seq, ack uint32, id uint16, data string) frametest.Packet {
	return frametest.Packet{Src: src, Dst: dst, ID: id, Transport: frametest.TCP(flags, seq, ack), Data: data}
}

const (
	cip, vip, rip = "172.16.253.36:5000", "172.16.253.63:80", "192.168.166.129:80"
	syn, ack      = frame.FlagSYN, frame.FlagACK
)

func TestNATIsFollowedOverItsAddresses(t *testing.T) {
	b := newBed(t, "nat")
	b.pass("client:eth0", "director:eth0", between(cip, vip, syn, 100, 0, 1, ""))
	b.pass("director:eth1", "rs1:eth0", between(cip, rip, syn, 100, 0, 1, ""))
	b.pass("rs1:eth0", "director:eth1", between(rip, cip, syn|ack, 700, 101, 0, ""))
	b.pass("director:eth0", "client:eth0", between(vip, cip, syn|ack, 700, 101, 0, ""))
	b.pass("client:eth0", "director:eth0", between(cip, vip, ack, 101, 701, 2, "GET / HTTP/1.1\r\n"))
	b.pass("director:eth1", "rs1:eth0", between(cip, rip, ack, 101, 701, 2, "GET / HTTP/1.1\r\n"))
	b.want(`
#1 +0.000 ms client → director → rs1 tcp 172.16.253.36:5000 > 172.16.253.63:80 SYN (3.000 ms)
director: destination 172.16.253.63:80 → 192.168.166.129:80
#1 +4.000 ms rs1 → director → client tcp 192.168.166.129:80 > 172.16.253.36:5000 SYN,ACK (3.000 ms)
director: source 192.168.166.129:80 → 172.16.253.63:80
#1 +8.000 ms client → director → rs1 tcp 172.16.253.36:5000 > 172.16.253.63:80 ACK 16 B "GET / HTTP/1.1" (3.000 ms)`)
}

func TestFULLNATIsFollowedOverBothAddresses(t *testing.T) {
	b := newBed(t, "fullnat")
	real := "10.0.0.129:80"
	b.pass("client:eth0", "director:eth0", between(cip, vip, syn, 100, 0, 1, ""))
	b.pass("director:eth1", "gateway:eth0", between("192.168.166.200:6000", real, syn, 100, 0, 1, ""))
	b.pass("gateway:eth1", "rs1:eth0", between("192.168.166.200:6000", real, syn, 100, 0, 1, ""))
	b.pass("rs1:eth0", "gateway:eth1", between(real, "192.168.166.200:6000", syn|ack, 9, 101, 0, ""))
	b.pass("gateway:eth0", "director:eth1", between(real, "192.168.166.200:6000", syn|ack, 9, 101, 0, ""))
	b.pass("director:eth0", "client:eth0", between(vip, cip, syn|ack, 9, 101, 0, ""))
	b.want(`
#1 +0.000 ms client → director → gateway → rs1 tcp 172.16.253.36:5000 > 172.16.253.63:80 SYN (5.000 ms)
director: source 172.16.253.36:5000 → 192.168.166.200:6000, destination 172.16.253.63:80 → 10.0.0.129:80
#1 +6.000 ms rs1 → gateway → director → client tcp 10.0.0.129:80 > 192.168.166.200:6000 SYN,ACK (5.000 ms)
director: source 10.0.0.129:80 → 172.16.253.63:80, destination 192.168.166.200:6000 → 172.16.253.36:5000`)
}

func TestDirectRoutingComesBackAnotherWay(t *testing.T) {
	b := newBed(t, "dr")
	b.pass("client:eth0", "director:eth0", between(cip, vip, syn, 100, 0, 1, ""))
	b.pass("director:eth0", "rs2:eth0", between(cip, vip, syn, 100, 0, 1, ""))
	b.pass("rs2:eth0", "client:eth0", between(vip, cip, syn|ack, 700, 101, 0, ""))
	b.want(`
#1 +0.000 ms client → director → rs2 tcp 172.16.253.36:5000 > 172.16.253.63:80 SYN (3.000 ms)
director: only the MAC addresses, to rs2's, 02:00:00:00:04:00
#1 +4.000 ms rs2 → client tcp 172.16.253.63:80 > 172.16.253.36:5000 SYN,ACK (1.000 ms)`)
}

func TestATunnelIsLookedInto(t *testing.T) {
	b := newBed(t, "tun")
	inside := between("100.0.0.6:5000", vip, syn, 100, 0, 1, "")
	b.pass("client:eth0", "gateway:eth0", inside)
	b.pass("gateway:eth1", "director:eth0", inside)
	outside := frametest.Packet{Src: "172.16.253.130", Dst: "192.168.166.129", ID: 77, Proto: layers.IPProtocolIPv4, Data: string(inside.Bytes())}
	b.pass("director:eth0", "gateway:eth1", outside)
	b.pass("gateway:eth2", "rs1:eth0", outside)
	b.pass("rs1:eth0", "gateway:eth2", between(vip, "100.0.0.6:5000", syn|ack, 7, 101, 0, ""))
	b.pass("gateway:eth0", "client:eth0", between(vip, "100.0.0.6:5000", syn|ack, 7, 101, 0, ""))
	b.want(`
#1 +0.000 ms client → gateway → director → gateway → rs1 tcp 100.0.0.6:5000 > 172.16.253.63:80 SYN (7.000 ms)
director: into a tunnel, ipip 172.16.253.130 > 192.168.166.129
#1 +8.000 ms rs1 → gateway → client tcp 172.16.253.63:80 > 100.0.0.6:5000 SYN,ACK (3.000 ms)`)
}

func TestWhatDoesNotArriveIsLost(t *testing.T) {
	b := newBed(t, "nat")
	first, again := between(cip, vip, syn, 100, 0, 1, ""), between(cip, vip, syn, 100, 0, 2, "")
	b.see("client:eth0 out", first, "client:eth0", "director:eth0")
	b.pass("client:eth0", "director:eth0", again)
	b.see("director:eth1 out", between(cip, rip, syn, 100, 0, 2, ""), "director:eth1", "nobody")
	b.want(`
#1 +0.000 ms client → director ✗ 02:09:09:09:09:09 tcp 172.16.253.36:5000 > 172.16.253.63:80 SYN (lost on the way to 02:09:09:09:09:09, 3.000 ms)
director: destination 172.16.253.63:80 → 192.168.166.129:80
#1 +1.000 ms client ✗ director tcp 172.16.253.36:5000 > 172.16.253.63:80 SYN (lost on the way to director)`)
}

func TestACopyIsToldFromItsOriginal(t *testing.T) {
	b := newBed(t, "nat")
	p := frametest.Packet{Src: "172.16.253.36:5000", Dst: "172.16.253.63:53", ID: 5, Transport: &layers.UDP{}, Data: "what"}
	b.pass("client:eth0", "director:eth0", p)
	b.see("director:eth0 in", p, "client:eth0", "director:eth0")
	b.want(`
#1 +0.000 ms client → director udp 172.16.253.36:5000 > 172.16.253.63:53 4 B (1.000 ms)
#1 +2.000 ms … → director udp 172.16.253.36:5000 > 172.16.253.63:53 4 B (delivered twice)`)
}

func TestSegmentsThatAreJoinedGoOnAsOne(t *testing.T) {
	b := newBed(t, "nat")
	one, two := between(cip, vip, ack, 100, 1, 1, "0123"), between(cip, vip, ack, 104, 1, 2, "4567")
	b.see("client:eth0 out", one, "client:eth0", "director:eth0")
	b.see("client:eth0 out", two, "client:eth0", "director:eth0")
	both := between(cip, vip, ack, 100, 1, 1, "01234567")
	b.see("director:eth0 in", both, "client:eth0", "director:eth0")
	b.pass("director:eth1", "rs1:eth0", between(cip, rip, ack, 100, 1, 1, "01234567"))
	b.want(`
#1 +0.000 ms client → director → rs1 tcp 172.16.253.36:5000 > 172.16.253.63:80 ACK 4 B "0123" (4.000 ms)
director: destination 172.16.253.63:80 → 192.168.166.129:80
#1 +1.000 ms client tcp 172.16.253.36:5000 > 172.16.253.63:80 ACK 4 B "4567" (joined to the segment before)`)
}

func TestChangedSequenceNumbersAreFollowed(t *testing.T) {
	b := newBed(t, "nat")
	b.pass("rs1:eth0", "director:eth1", between(rip, cip, ack, 700, 101, 4711, "Web1"))
	b.pass("director:eth0", "client:eth0", between(vip, cip, ack, 912, 101, 4711, "Web1"))
	b.want(`
#1 +0.000 ms rs1 → director → client tcp 192.168.166.129:80 > 172.16.253.36:5000 ACK 4 B "Web1" (3.000 ms)
director: source 192.168.166.129:80 → 172.16.253.63:80, sequence numbers`)
}

func TestABroadcastReachesAll(t *testing.T) {
	b := newBed(t, "dr")
	l, from := b.link("client:eth0")
	who := frametest.Build(t,
		&layers.Ethernet{SrcMAC: from[:], DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1, SourceHwAddress: from[:],
			SourceProtAddress: []byte{172, 16, 253, 36}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{172, 16, 253, 63}})
	b.add(l, true, who)
	for _, name := range []string{"director:eth0", "rs1:eth0", "rs2:eth0"} {
		l, _ := b.link(name)
		b.add(l, false, who)
	}
	b.want(`+0.000 ms client → director, rs1, rs2 arp who has 172.16.253.63? says 172.16.253.36 (3.000 ms)`)
}

func TestAnErrorAboutAPacketIsFollowed(t *testing.T) {
	b := newBed(t, "nat")
	about := func(src, dst, inSrc, inDst string) frametest.Packet {
		inner := between(inSrc, inDst, ack, 4242, 1, 9, "").Bytes()
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}
		return frametest.Packet{Src: src, Dst: dst, ID: 3, Transport: icmp, Data: string(inner)}
	}
	b.pass("rs1:eth0", "director:eth1", about("192.168.166.129", "172.16.253.36", cip, rip))
	b.pass("director:eth0", "client:eth0", about("172.16.253.63", "172.16.253.36", cip, vip))
	b.want(`
+0.000 ms rs1 → director → client icmp 192.168.166.129 > 172.16.253.36 DestinationUnreachable(Port) (3.000 ms)
director: source 192.168.166.129 → 172.16.253.63`)
}

func TestAFilterMatchesAnywhereOnTheWay(t *testing.T) {
	b := newBed(t, "nat")
	for i, server := range []string{"192.168.166.129:80", "192.168.166.131:80"} {
		from, to := fmt.Sprintf("172.16.253.36:500%d", i), fmt.Sprintf("rs%d:eth0", i+1)
		b.pass("client:eth0", "director:eth0", between(from, vip, syn, uint32(i), 0, 1, ""))
		b.pass("director:eth1", to, between(from, server, syn, uint32(i), 0, 1, ""))
	}
	if got := b.told("host 192.168.166.131"); strings.Count(got, "SYN") != 1 || !strings.Contains(got, "client → director → rs2") {
		t.Errorf("told\n%s", got)
	}
	if got := b.told("port 81"); got != "" {
		t.Errorf("told\n%s", got)
	}
}

// FuzzTracker follows anything without a panic, and tells of every frame once.
func FuzzTracker(f *testing.F) {
	f.Add([]byte("client"), []byte{1, 2, 3})
	f.Add(between(cip, vip, syn, 1, 2, 3, "data").Bytes(), []byte{0, 1, 0, 3})
	topology, err := lab.Build("dr", lab.Options{})
	if err != nil {
		f.Fatal(err)
	}
	links := capture.Links(&topology)
	f.Fuzz(func(t *testing.T, frame, sights []byte) {
		tracker, at := journey.NewTracker(&topology, nil, true), time.Unix(0, 0)
		var frames []capture.Frame
		for i, s := range sights {
			b := slices.Clone(frame)
			if i%3 == 2 && len(b) > 0 {
				b[int(s)%len(b)] ^= s
			}
			at = at.Add(time.Duration(s) * time.Millisecond)
			frames = append(frames, capture.Frame{Link: &links[int(s)%len(links)], Time: at, Out: s&16 != 0, Bytes: b, Length: len(b)})
		}
		hops := 0
		for _, j := range append(tracker.Frames(frames, at), tracker.End()...) {
			hops += len(j.Hops)
		}
		if hops != len(frames) {
			t.Errorf("%d hops of %d frames", hops, len(frames))
		}
	})
}
