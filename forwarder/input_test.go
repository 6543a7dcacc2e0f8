package forwarder

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

// byAllMethods are services at 10.2.0.1 by NAT, .2 by direct routing, .3 by a
// tunnel and .4 by FULLNAT, for TCP and UDP.
const byAllMethods = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m
-A -t 10.2.0.2:80 -s rr
-a -t 10.2.0.2:80 -r 10.1.0.1:80 -g
-A -t 10.2.0.3:80 -s rr
-a -t 10.2.0.3:80 -r 10.1.0.1:80 -i
-A -t 10.2.0.4:80 -s rr
-a -t 10.2.0.4:80 -r 10.1.0.1:80 --fullnat
--add-laddr -t 10.2.0.4:80 --laddr 10.1.200.1
-A -u 10.2.0.1:80 -s rr
-a -u 10.2.0.1:80 -r 10.1.0.1:80 -m
`

// forged returns a director whose host accepts no packets from 172.16.0.66.
func forged(t testing.TB) *testbed {
	b := newTestbed(t, byAllMethods)
	b.net.admits = func(f *frame.Frame, link int) frame.Verdict {
		switch f.Flow.Src().String() {
		case "172.16.0.66", "10.1.0.66":
			return frame.DropMartianSource
		case "172.16.0.67":
			return frame.DropRPFilter
		}
		return frame.Continue
	}
	return b
}

func (b *testbed) expectVerdict(because string, v frame.Verdict, link int, packets ...[]byte) {
	b.t.Helper()
	before := b.verdict(v)
	out := b.send(link, packets...)
	if got := b.verdict(v) - before; got != uint64(len(packets)) || len(out) != 0 {
		b.t.Errorf("%s: %v counts %d, %d frames leave", because, v, got, len(out))
	}
}

func TestWhatTheHostWouldNotTakeInIsNotForwarded(t *testing.T) {
	b := forged(t)
	for i := range 4 {
		vip := fmt.Sprintf("10.2.0.%d:80", i+1)
		b.expectVerdict("a SYN from a martian opens nothing", frame.DropMartianSource, 1,
			seg(t, 1, "172.16.0.66:1000", vip, frame.FlagSYN, ""))
		b.expectVerdict("nor does one whose way back is another", frame.DropRPFilter, 1,
			seg(t, 1, "172.16.0.67:1000", vip, frame.FlagSYN, ""))
	}
	if n := b.fw.conns.Len(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
	b.fw.Tick(time.Now())
	for _, s := range b.fw.Services() {
		if s.Stats.Conns != 0 || s.Stats.InPkts != 0 {
			t.Errorf("%v counts %d connections, %d packets; want none", s.Key, s.Stats.Conns, s.Stats.InPkts)
		}
	}
	b.expectVerdict("a segment to a port without a service is not answered", frame.DropMartianSource, 1,
		seg(t, 1, "172.16.0.66:1000", "10.2.0.1:81", frame.FlagSYN, ""))
}

func TestEveryPacketOfAConnectionIsJudged(t *testing.T) {
	b := forged(t)
	client, vip := "172.16.0.9:1000", "10.2.0.1:80"
	b.send(1, seg(t, 1, client, vip, frame.FlagSYN, ""))
	b.send(2, seg(t, 2, "10.1.0.1:80", client, frame.FlagSYN|frame.FlagACK, ""))
	b.net.admits = func(f *frame.Frame, link int) frame.Verdict {
		if link == 1 {
			return frame.DropRPFilter
		}
		return frame.Continue
	}
	b.workers[1].admitted = admitCache{}
	b.expectVerdict("a packet of an established connection", frame.DropRPFilter, 1, seg(t, 1, client, vip, frame.FlagACK, "x"))
	b.expectVerdict("a reply of the server by the client's side", frame.DropRPFilter, 1, seg(t, 1, "10.1.0.1:80", client, frame.FlagACK, "x"))
	b.expect("the same reply by its own side", 2, seg(t, 2, "10.1.0.1:80", client, frame.FlagACK, "x"),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>1000")
}

func TestMessagesAndFragmentsAreJudged(t *testing.T) {
	b := forged(t)
	b.send(1, dgram(t, 1, "172.16.0.9:1000", "10.2.0.1:80", "x"))
	quoted := dgram(t, 1, "10.2.0.1:80", "172.16.0.9:1000", "x")[14:]
	b.expectVerdict("an ICMP error about a connection", frame.DropMartianSource, 1, unreachable(t, 1, "172.16.0.66", "10.2.0.1", quoted))
	whole := dgram(t, 1, "172.16.0.66:1000", "10.2.0.1:80", strings.Repeat("x", 64))
	b.expectVerdict("the fragments of a datagram", frame.DropMartianSource, 1, piece(whole, 0, 32), piece(whole, 32, 40))
}

func TestJudgementsAreForgottenWithTheGeneration(t *testing.T) {
	b := newTestbed(t, byAllMethods)
	asked := 0
	b.net.admits = func(f *frame.Frame, link int) frame.Verdict { asked++; return frame.Continue }
	p := seg(t, 1, "172.16.0.9:1000", "10.2.0.1:80", frame.FlagSYN, "")
	b.send(1, p)
	b.send(1, p)
	if asked != 1 {
		t.Errorf("asked %d times of two packets, want once", asked)
	}
	b.net.generation++
	b.send(1, p)
	if asked != 2 {
		t.Errorf("asked %d times after a change, want twice", asked)
	}
}

// unreachable is an ICMP error from src to dst that quotes a packet.
func unreachable(t testing.TB, link int, src, dst string, quoted []byte) []byte {
	if netip.MustParseAddr(src).Is6() {
		return icmp(link, src, dst, 1, 1, 0, string(quoted))
	}
	return icmp(link, src, dst, 3, 1, 0, string(quoted))
}

// piece makes a fragment of an IPv4 frame: n bytes of its payload from offset at.
func piece(whole []byte, at, n int) []byte {
	b := append(append([]byte{}, whole[:34]...), whole[34+at:34+at+n]...)
	word := uint16(at / 8)
	if 34+at+n < len(whole) {
		word |= 0x2000
	}
	binary.BigEndian.PutUint16(b[16:], uint16(20+n))
	binary.BigEndian.PutUint16(b[20:], word)
	return headerSum(b)
}

// headerSum recomputes the header checksum of an IPv4 frame.
func headerSum(b []byte) []byte {
	h := b[14 : 14+int(b[14]&15)*4]
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], frame.Checksum(h))
	return b
}

// optioned adds options to the IPv4 header of a frame.
func optioned(b []byte, options ...byte) []byte {
	out := append(append(append([]byte{}, b[:34]...), options...), b[34:]...)
	out[14] += byte(len(options) / 4)
	binary.BigEndian.PutUint16(out[16:], binary.BigEndian.Uint16(out[16:])+uint16(len(options)))
	return headerSum(out)
}

var (
	looseRoute = []byte{131, 7, 4, 10, 1, 0, 9, 0}
	passed     = []byte{131, 7, 8, 10, 1, 0, 9, 0}
	strict     = []byte{137, 7, 4, 10, 1, 0, 9, 0}
	label      = []byte{134, 10, 0, 0, 0, 5, 1, 4, 0, 1, 0, 0}
)

func TestSourceRoutesAreRefused(t *testing.T) {
	b := newTestbed(t, byAllMethods)
	for i := range 4 {
		syn := seg(t, 1, "172.16.0.9:1000", fmt.Sprintf("10.2.0.%d:80", i+1), frame.FlagSYN, "")
		b.expectVerdict("a loose source route", frame.DropSourceRoute, 1, optioned(syn, looseRoute...))
		b.expectVerdict("a strict one", frame.DropSourceRoute, 1, optioned(syn, strict...))
		b.expectVerdict("one that has been passed", frame.DropSourceRoute, 1, optioned(syn, passed...))
	}
	syn := seg(t, 1, "172.16.0.9:1000", "10.2.0.1:80", frame.FlagSYN, "")
	b.net.sourceRouted = true
	b.expectVerdict("with accept_source_route, one that leads on", frame.DropSourceRoute, 1, optioned(syn, looseRoute...))
	b.expect("with accept_source_route, one that has been passed", 1, optioned(syn, passed...),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 1000>80")
	answer := seg(t, 2, "10.1.0.1:80", "172.16.0.9:1000", frame.FlagSYN|frame.FlagACK, "")
	b.expect("a server may say the way to the client", 2, optioned(answer, looseRoute...),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>1000")
	b.expectProblem("but not one that should not have led here", 16, 2, optioned(answer, strict...))
}

// expectProblem expects an ICMP parameter problem that points at a byte.
func (b *testbed) expectProblem(because string, at byte, link int, p []byte) {
	b.t.Helper()
	out := b.send(link, p)
	if len(out) != 1 || out[0].link != link || out[0].b[34] != 12 || out[0].b[35] != 0 || out[0].b[38] != at {
		b.t.Errorf("%s: %v, want an ICMP parameter problem at byte %d", because, out, at)
		return
	}
	judge(b.t, out[0].b)
}

func TestOptionsWithoutSenseAreAnswered(t *testing.T) {
	b := newTestbed(t, byAllMethods)
	for i := range 4 {
		vip := fmt.Sprintf("10.2.0.%d:80", i+1)
		b.expectProblem("a label that nobody knows", 22, 1, optioned(seg(t, 1, "172.16.0.9:1000", vip, frame.FlagSYN, ""), label...))
	}
	if n := b.fw.conns.Len(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
	b.send(1, dgram(t, 1, "172.16.0.9:1000", "10.2.0.1:80", "x"))
	b.expectProblem("the reply of a server", 22, 2, optioned(dgram(t, 2, "10.1.0.1:80", "172.16.0.9:1000", "x"), label...))
	whole := dgram(t, 1, "172.16.0.9:1000", "10.2.0.1:80", strings.Repeat("x", 64))
	b.expectProblem("the first fragment of a datagram", 22, 1, optioned(piece(whole, 0, 32), label...))
	b.expectVerdict("nobody is told of a later one", frame.DropIPOptions, 1, optioned(piece(whole, 32, 40), label...))
	quoted := dgram(t, 1, "10.2.0.1:80", "172.16.0.9:1000", "x")[14:]
	b.expectVerdict("nor of an ICMP error", frame.DropIPOptions, 1, optioned(unreachable(t, 1, "172.16.0.9", "10.2.0.1", quoted), label...))
	b.expectVerdict("what is none of ours is left to the host", frame.Pass, 1,
		optioned(seg(t, 1, "172.16.0.9:1000", "10.9.0.1:22", frame.FlagSYN, ""), label...))
}

func TestWhatFollowsTheEndOfOptionsBecomesZeros(t *testing.T) {
	b := newTestbed(t, byAllMethods)
	out := b.send(1, optioned(seg(t, 1, "172.16.0.9:1000", "10.2.0.1:80", frame.FlagSYN, ""), 0, 7, 48, 1))
	if len(out) != 1 || binary.BigEndian.Uint32(out[0].b[34:]) != 0 {
		t.Fatalf("%v, want a segment with options of zeros", out)
	}
	judge(t, out[0].b)
}

func TestRouteAndTimesAreRecorded(t *testing.T) {
	b := newTestbed(t, byAllMethods)
	room := []byte{7, 7, 4, 0, 0, 0, 0, 0}
	for i := range 3 {
		vip := fmt.Sprintf("10.2.0.%d", i+1)
		out := b.send(1, optioned(seg(t, 1, "172.16.0.9:1000", vip+":80", frame.FlagSYN, ""), room...))
		entry := []byte{7, 7, 8, 10, 2, 0, byte(i + 1), 0}
		if len(out) != 1 || !bytes.Contains(out[0].b, entry) {
			t.Errorf("%s: %x leaves, want %x in it", vip, out, entry)
		}
	}
	answer := seg(t, 2, "10.1.0.1:80", "172.16.0.9:1000", frame.FlagSYN|frame.FlagACK, "")
	if out := b.send(2, optioned(answer, room...)); len(out) != 1 || !bytes.Contains(out[0].b, []byte{7, 7, 8, 10, 2, 0, 1, 0}) {
		t.Errorf("a reply: %x leaves, want the virtual address in it", out)
	}
	stamp := []byte{68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	if out := b.send(2, optioned(answer, stamp...)); len(out) != 1 || !bytes.Contains(out[0].b, []byte{68, 12, 13, 1, 10, 1, 255, 254}) {
		t.Errorf("a reply: %x leaves, want the address towards the server in it", out)
	}
}

func TestDamagedMessagesEndAtTheDirector(t *testing.T) {
	b := newTestbed(t, byAllMethods+`
-A -t [fd00:2::1]:80 -s rr
-a -t [fd00:2::1]:80 -r [fd00:1::1]:80 -m
-A -t [fd00:2::2]:80 -s rr
-a -t [fd00:2::2]:80 -r [fd00:1::1]:80 -g
-A -t [fd00:2::3]:80 -s rr
-a -t [fd00:2::3]:80 -r [fd00:1::1]:80 -i
`)
	for _, vip := range []string{"10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.0.4", "fd00:2::1", "fd00:2::2", "fd00:2::3"} {
		addr := netip.MustParseAddr(vip)
		client, router, at := netip.MustParseAddr("172.16.0.9"), "172.16.0.1", 36
		if addr.Is6() {
			client, router, at = netip.MustParseAddr("fd00:c::9"), "fd00:c::1", 56
		}
		syn := seg(t, 1, netip.AddrPortFrom(client, 1000).String(), netip.AddrPortFrom(addr, 80).String(), frame.FlagSYN, "")
		if out := b.send(1, syn); len(out) != 1 {
			t.Fatalf("%s: %v", vip, out)
		}
		quoted := seg(t, 1, netip.AddrPortFrom(addr, 80).String(), netip.AddrPortFrom(client, 1000).String(), frame.FlagACK, "")[14:]
		bad := unreachable(t, 1, router, vip, quoted)
		bad[at] ^= 0x55
		packets := func() (n uint64) {
			b.fw.Tick(time.Now())
			for _, s := range b.fw.Services() {
				n += s.Stats.InPkts
			}
			return n
		}
		before := packets()
		b.expectVerdict(vip, frame.DropBadChecksum, 1, bad)
		if n := packets() - before; n != 0 {
			t.Errorf("%s: the message counts as %d packets of the service", vip, n)
		}
		bad[at] ^= 0x55
		if out := b.send(1, bad); len(out) != 1 || packets()-before != 1 {
			t.Errorf("%s: undamaged, %d frames leave, %d count", vip, len(out), packets()-before)
		}
	}
	answer := unreachable(t, 2, "10.1.0.1", "172.16.0.9", seg(t, 1, "172.16.0.9:1000", "10.1.0.1:80", frame.FlagACK, "")[14:])
	answer[36] ^= 0x55
	b.expectVerdict("from the server's side", frame.DropBadChecksum, 2, answer)
	other := unreachable(t, 1, "172.16.0.1", "10.2.0.1", seg(t, 1, "10.2.0.1:80", "172.16.0.9:4444", frame.FlagACK, "")[14:])
	other[36] ^= 0x55
	b.expectVerdict("one about no connection is left to the host", frame.Pass, 1, other)
}

func TestJudgingDoesNotAllocate(t *testing.T) {
	b := newTestbed(t, byAllMethods)
	p := optioned(seg(t, 1, "172.16.0.9:1000", "10.2.0.2:80", frame.FlagSYN, ""), 1, 1, 1, 1)
	round := func() {
		b.mem.far[1].Inject(p)
		w := b.workers[1]
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
	}
	for range porttest.Capacity + 1 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
