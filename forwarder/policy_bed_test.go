package forwarder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

// policyBed is a bed whose clock a test moves, in a testing/synctest bubble.
type policyBed struct {
	*bed
	drainer *drainer
}

func newPolicyBed(t testing.TB, rules string) *policyBed {
	b := newBed(t, rules)
	r := b.fw.conns.Reader()
	t.Cleanup(r.Close)
	return &policyBed{b, newDrainer(b.fw, r)}
}

// pass lets time go by with the housekeeping of every tenth of a second, and
// returns what that sent.
func (b *policyBed) pass(d time.Duration) (out []string) {
	const step = 100 * time.Millisecond
	for ; d > 0; d -= step {
		time.Sleep(step)
		for !b.fw.conns.Sweep(b.fw.now(), sweepSlots) {
		}
		b.drainer.step(b.fw.now())
	}
	return b.tell(b.collect())
}

// tell describes frames with gopacket, which must find their checksums right.
func (b *policyBed) tell(out []sent) (all []string) {
	for _, s := range out {
		side := "client"
		if s.link == 2 {
			side = "server"
		}
		all = append(all, side+" "+inFull(b.t, s.b))
	}
	return all
}

// expect is bed.expect with the numbers of segments.
func (b *policyBed) expect(because string, link int, p []byte, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.tell(b.send(link, p))); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", because, diff)
	}
}

func (b *policyBed) counts(because string, want map[string]uint64) {
	b.t.Helper()
	all, got := b.fw.Counters(), map[string]uint64{}
	for name := range want {
		got[name] = all[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", because, diff)
	}
}

func inFull(t testing.TB, b []byte) string {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var words []string
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.IPv6:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.TCP:
			words = append(words, fmt.Sprintf("tcp %d>%d %s seq %d ack %d", l.SrcPort, l.DstPort, flagsOf(l), l.Seq, l.Ack))
		case *layers.UDP:
			words = append(words, fmt.Sprintf("udp %d>%d", l.SrcPort, l.DstPort))
		case *layers.SCTP:
			words = append(words, fmt.Sprintf("sctp %d>%d tag %d", l.SrcPort, l.DstPort, l.VerificationTag))
		case *layers.SCTPError:
			words = append(words, fmt.Sprintf("%s flags %d", l.Type, l.Flags))
		case *layers.ICMPv4:
			words = append(words, l.TypeCode.String())
		case *layers.ICMPv6:
			words = append(words, l.TypeCode.String())
		}
	}
	if err := frametest.Check(b, layers.LayerTypeEthernet); err != nil {
		t.Errorf("%s: %v", strings.Join(words, " "), err)
	}
	return strings.Join(words, " ")
}

func flagsOf(l *layers.TCP) string {
	var flags uint8
	for bit, set := range map[uint8]bool{frame.FlagSYN: l.SYN, frame.FlagRST: l.RST, frame.FlagACK: l.ACK, frame.FlagFIN: l.FIN, frame.FlagPSH: l.PSH} {
		if set {
			flags |= bit
		}
	}
	return flagNames(flags)
}

// at is a segment of one end of a connection with its numbers.
func at(t testing.TB, link int, src, dst string, flags uint8, seq, ackn uint32, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: seq, Ack: ackn, Window: 4096,
		SYN: flags&frame.FlagSYN != 0, ACK: flags&frame.FlagACK != 0, FIN: flags&frame.FlagFIN != 0, RST: flags&frame.FlagRST != 0}
	if s.Addr().Is6() {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
		return packet(t, link, ip, tcp, gopacket.Payload(data))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	return packet(t, link, ip, tcp, gopacket.Payload(data))
}

// open has a client open a connection and say something.
func (b *policyBed) open(client, virtual string) {
	b.t.Helper()
	b.send(1, at(b.t, 1, client, virtual, syn, 999, 0, ""))
	b.send(1, at(b.t, 1, client, virtual, ack, 1000, 5001, ""))
}
