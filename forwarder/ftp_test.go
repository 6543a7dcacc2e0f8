package forwarder

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
)

const ftpByNAT = `
-A -t 10.2.0.21:21 -s rr
-a -t 10.2.0.21:21 -r 10.1.0.1:21 -m`

// line is a TCP segment with its numbers.
func line(t *testing.T, link int, src, dst string, seq, ack uint32, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: seq, Ack: ack, Window: 4096, ACK: true, PSH: true}
	return packet(t, link, ip, tcp, gopacket.Payload(data))
}

// said is what a frame says: its numbers and its data.
type said struct {
	Seq, Ack uint32
	Data     string
}

func (b *bed) said(link int, p []byte) []said {
	var all []said
	for _, s := range b.send(link, p) {
		judge(b.t, s.b)
		l4 := s.b[34:]
		all = append(all, said{binary.BigEndian.Uint32(l4[4:]), binary.BigEndian.Uint32(l4[8:]), string(l4[int(l4[12]>>4)*4:])})
	}
	return all
}

// The dialogue of the kernel's helper: addresses in answers, numbers after
// them, and who may connect where.
func TestFTPHelper(t *testing.T) {
	b := newBed(t, ftpByNAT)
	const client, vip, rs = "172.16.0.9:30034", "10.2.0.21:21", "10.1.0.1:21"
	b.send(1, seg(t, 1, client, vip, frame.FlagSYN, ""))
	b.send(2, seg(t, 2, rs, client, frame.FlagSYN|frame.FlagACK, ""))
	b.send(1, seg(t, 1, client, vip, frame.FlagACK, ""))
	const entering = "227 Entering Passive Mode (10,1,0,1,200,10).\r\n"
	const rewritten = "227 Entering Passive Mode (10,2,0,21,200,10).\r\n"
	step := func(because string, link int, p []byte, want said) {
		t.Helper()
		if diff := cmp.Diff([]said{want}, b.said(link, p)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", because, diff)
		}
	}
	step("an answer that nobody asked for is data", 2, line(t, 2, rs, client, 5001, 1001, entering), said{5001, 1001, entering})
	step("a request is not changed", 1, line(t, 1, client, vip, 1001, 5047, "PASV\r\n"), said{1001, 5047, "PASV\r\n"})
	step("the answer names the virtual address", 2, line(t, 2, rs, client, 5047, 1007, entering), said{5047, 1007, rewritten})
	step("the same if it comes again", 2, line(t, 2, rs, client, 5047, 1007, entering), said{5047, 1007, rewritten})
	step("what follows is one byte later", 2, line(t, 2, rs, client, 5093, 1007, "150 ok\r\n"), said{5094, 1007, "150 ok\r\n"})
	step("and acknowledged as the server counts", 1, line(t, 1, client, vip, 1007, 5102, "NOOP\r\n"), said{1007, 5101, "NOOP\r\n"})

	if n := b.fw.conns.Len(); n != 2 {
		t.Errorf("%d connections, want the control connection and the expected one", n)
	}
	b.expect("the data connection goes where it was announced", 1,
		seg(t, 1, "172.16.0.9:30035", "10.2.0.21:51210", frame.FlagSYN, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30035>51210")
	b.expect("and its answers come back", 2,
		seg(t, 2, "10.1.0.1:51210", "172.16.0.9:30035", frame.FlagSYN|frame.FlagACK, ""),
		"client 02:00:00:02:00:01 10.2.0.21>172.16.0.9 tcp 51210>30035")
	b.send(1, line(t, 1, client, vip, 1013, 5102, "PORT 172,16,0,77,190,5\r\n"))
	b.send(1, line(t, 1, client, vip, 1037, 5102, "PORT 172,16,0,9,190,5\r\n"))
	b.expect("an active server connects from the virtual address", 2,
		seg(t, 2, "10.1.0.1:20", "172.16.0.9:48645", frame.FlagSYN, ""),
		"client 02:00:00:02:00:01 10.2.0.21>172.16.0.9 tcp 20>48645")
	if n := b.fw.conns.Len(); n != 3 {
		t.Errorf("%d connections, want 3: none for a third party's address", n)
	}
	if s := b.fw.Services()[0].Servers[0]; s.Active+s.Inactive != 3 {
		t.Errorf("%d active and %d inactive connections, want 3", s.Active, s.Inactive)
	}
}
