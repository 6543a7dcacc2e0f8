package forwarder

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/guard"
)

const (
	aClient  = "172.16.0.9:30001"
	aVirtual = "10.2.0.1:80"
	syn      = frame.FlagSYN
	ack      = frame.FlagACK
)

func TestWithoutAnyServiceConnectionsAreTheHosts(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.net.forward = true
	b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
	b.apply("-D -t 10.2.0.1:80")
	b.expect("a packet of a removed service's connection is dropped while another service is there", 1,
		seg(t, 1, aClient, aVirtual, ack, ""))
	b.apply("-D -u 10.2.0.1:53")
	passed := b.verdict(frame.Pass)
	b.expect("without any service the host gets it", 1, seg(t, 1, aClient, aVirtual, ack, ""))
	if n := b.verdict(frame.Pass) - passed; n != 1 {
		t.Errorf("%d frames were passed to the host, want 1", n)
	}
	b.expect("and replies leave as they came", 2, seg(t, 2, "10.1.0.2:8080", aClient, ack, ""),
		"client 02:00:00:02:00:01 10.1.0.2>172.16.0.9 tcp 8080>30001")
}

func TestESPFollowsItsKeyExchange(t *testing.T) {
	b := newTestbed(t, "-A -u 10.2.0.1:500 -s rr\n-a -u 10.2.0.1:500 -r 10.1.0.1:500 -m\n-a -u 10.2.0.1:500 -r 10.1.0.2:500 -m")
	espFollowsItsKeyExchange(t, b)
}

func TestESPFollowsAKeyExchangeThatIsMarked(t *testing.T) {
	b := newTestbed(t, "-A -f 5 -s rr\n-a -f 5 -r 10.1.0.1 -m\n-a -f 5 -r 10.1.0.2 -m")
	rule := mark("10.2.0.1/32", 500, 5)
	rule.Proto = config.UDP
	mustDo(t, b.fw.SetMarks([]config.MarkRule{rule}))
	espFollowsItsKeyExchange(t, b)
	for _, proto := range []uint8{frame.ProtoESP, frame.ProtoAH} {
		p := b.fw.newPlan()
		if !slices.Contains(p.Guard(nil).Virtual, guard.Tuple{Proto: proto, Addr: rule.Dst.Addr()}) ||
			!p.Admits(proto, netip.AddrPortFrom(rule.Dst.Addr(), 0)) {
			t.Errorf("protocol %d to %v passes the guard, or not the filter", proto, rule.Dst.Addr())
		}
	}
	except := rule
	except.Mark = 0
	mustDo(t, b.fw.AddMark(except))
	if p := b.fw.newPlan(); len(p.Contents()["ipsec"].(map[string]struct{})) != 0 {
		t.Error("a later rule takes the key exchanges out, yet ESP is the director's")
	}
}

func espFollowsItsKeyExchange(t *testing.T, b *testbed) {
	t.Helper()
	esp := func(link int, src, dst string) []byte {
		return onLink(link, frametest.Packet{Src: src, Dst: dst, Proto: layers.IPProtocolESP, Data: "spi.seq.data"})
	}
	b.expect("ESP without a key exchange is answered as a host without IPsec would", 1, esp(1, "172.16.0.9", "10.2.0.1"),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 DestinationUnreachable(Protocol)")
	b.send(1, dgram(t, 1, "172.16.0.9:500", "10.2.0.1:500", "ike"))
	b.expect("ESP goes where the key exchange went", 1, esp(1, "172.16.0.9", "10.2.0.1"),
		"server 02:00:00:01:00:02 172.16.0.9>10.1.0.2")
	b.expect("and the server's ESP comes from the virtual address", 2, esp(2, "10.1.0.2", "172.16.0.9"),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9")
}

func TestMarkedProtocolsWithoutPortsAreNotScheduled(t *testing.T) {
	b := newTestbed(t, "-A -f 5 -s rr")
	b.mark(config.MarkRule{Mark: 5})
	gre := frametest.Packet{Src: "172.16.0.9", Dst: "10.2.0.9", Proto: layers.IPProtocolGRE, Data: "\x00\x00\x08\x00data"}
	b.expect("GRE with the mark of a service is left to the host", 1, onLink(1, gre))
	if n := b.verdict(frame.Pass); n != 1 {
		t.Errorf("%d frames were passed, want 1", n)
	}
}

func TestErrorsReachARemovedServer(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	reply := seg(t, 1, aVirtual, aClient, ack, "data")[frame.EthernetLen:]
	out := b.send(1, icmp(1, "172.16.0.9", "10.2.0.1", 3, 4, 1400, string(reply)))
	if len(out) != 1 || out[0].link != 2 {
		t.Errorf("an ICMP error about what a removed server sent went to %q, want the server", b.words(out))
	}
}

func TestAnySYNBeginsANewConnectionAfterTimeWait(t *testing.T) {
	for _, flags := range []uint8{syn, syn | ack, syn | frame.FlagFIN} {
		b := newTestbed(t, twoByNAT)
		b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
		b.send(1, seg(t, 1, aClient, aVirtual, frame.FlagFIN|ack, "")) // SYN_RECV to TIME_WAIT
		b.expect(fmt.Sprintf("flags %#x are scheduled anew, by turns", flags), 1, seg(t, 1, aClient, aVirtual, flags, ""),
			"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30001>8080")
		if n := b.fw.conns.Len(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	}
}

func TestPortReuseModeNever(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.sysctl("conn_reuse_mode", "0")
	b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
	b.send(1, seg(t, 1, aClient, aVirtual, frame.FlagFIN|ack, ""))
	b.expect("with conn_reuse_mode 0 a port that comes again stays with its server", 1, seg(t, 1, aClient, aVirtual, syn, ""),
		"server 02:00:00:01:00:02 172.16.0.9>10.1.0.2 tcp 30001>8080")
	b.sysctl("expire_nodest_conn", "1")
	b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
	b.expect("but not with a quiesced one if expire_nodest_conn is set", 1, seg(t, 1, aClient, aVirtual, syn, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30001>8080")
}

func TestFTPDataPortIsNotScheduled(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.expect("a SYN from port 20 is answered as the host would", 1, seg(t, 1, "172.16.0.9:20", aVirtual, syn, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>20")
	b.expect("a datagram from port 20 too", 1, dgram(t, 1, "172.16.0.9:20", "10.2.0.1:53", "x"),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 DestinationUnreachable(Port)")
}

func TestNoticeOfUnexpectedReplies(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.net.forward = true
	b.sysctl("nat_icmp_send", "1")
	b.expect("a server's packet without a connection is answered", 2, seg(t, 2, "10.1.0.1:8080", aClient, ack, ""),
		"server 02:00:00:01:00:01 10.1.255.254>10.1.0.1 DestinationUnreachable(Port)")
	b.expect("its RST is routed", 2, seg(t, 2, "10.1.0.1:8080", aClient, frame.FlagRST, ""),
		"client 02:00:00:02:00:01 10.1.0.1>172.16.0.9 tcp 8080>30001")
	b.expect("what comes from another port of it is the host's", 2, seg(t, 2, "10.1.0.1:22", aClient, ack, ""))
	b.apply("-A -t 10.2.0.1:88 -s rr\n-a -t 10.2.0.1:88 -r 10.1.0.3:88 -m")
	b.expect("a client's connection by NAT", 1, seg(t, 1, aClient, "10.2.0.1:88", syn, ""),
		"server 02:00:00:01:00:03 172.16.0.9>10.1.0.3 tcp 30001>88")
	b.apply("-e -t 10.2.0.1:88 -r 10.1.0.3:88 -g")
	b.expect("a server that is no longer by NAT is not answered, whatever connections it has", 2, seg(t, 2, "10.1.0.3:88", "172.16.0.9:30002", ack, ""),
		"client 02:00:00:02:00:01 10.1.0.3>172.16.0.9 tcp 88>30002")
}

func TestDamagedPacketsAreNotAnswered(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	for what, p := range map[string][]byte{
		"a stray segment":               seg(t, 1, aClient, aVirtual, ack, "data"),
		"one for a port nobody serves":  seg(t, 1, aClient, "10.2.0.1:81", syn, ""),
		"a datagram for such a port":    dgram(t, 1, aClient, "10.2.0.1:54", "data"),
		"one a service ignores":         dgram(t, 1, "172.16.0.9:20", "10.2.0.1:53", "data"),
		"a segment of which none knows": seg(t, 1, aClient, aVirtual, frame.FlagFIN, ""),
	} {
		p[frame.EthernetLen+20+7] ^= 0x55 // UDP's checksum, TCP's sequence number
		before := b.verdict(frame.DropBadChecksum)
		b.expect(what, 1, p)
		if n := b.verdict(frame.DropBadChecksum) - before; n != 1 {
			t.Errorf("%s, damaged: %d counted, want 1", what, n)
		}
	}
	p := dgram(t, 1, aClient, "10.2.0.1:54", "data")
	p[frame.EthernetLen+20+6], p[frame.EthernetLen+20+7] = 0, 0
	b.expect("a datagram without checksum is answered", 1, p,
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 DestinationUnreachable(Port)")
}

func TestDropPacket(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.sysctl("am_droprate", "3")
	b.sysctl("drop_packet", "3")
	for i := range 9 {
		b.send(1, seg(t, 1, fmt.Sprintf("172.16.0.9:%d", 40000+i), aVirtual, syn, ""))
	}
	if n, dropped := b.fw.conns.Len(), b.verdict(frame.DropOverload); n != 6 || dropped != 3 {
		t.Errorf("of 9 SYNs %d opened and %d were dropped, want 6 and 3: one in am_droprate", n, dropped)
	}
	b.send(1, seg(t, 1, "172.16.0.9:40000", aVirtual, ack, ""), seg(t, 1, "172.16.0.9:40001", aVirtual, ack, ""))
	if n := b.verdict(frame.DropOverload); n != 3 {
		t.Errorf("packets of connections were dropped, too")
	}
}

func TestDefenseWhenMemoryIsShort(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	for _, name := range []string{"drop_entry", "drop_packet", "secure_tcp"} {
		b.sysctl(name, "1")
	}
	if s := b.fw.sysctl.Load(); s.DropEntry != 1 || s.SecureTCP != 1 || b.fw.rules.Load().SecureTCP || b.fw.overload.drops() {
		t.Errorf("mode 1 is in force while memory is free: %+v", *s)
	}
	b.sysctl("amemthresh", fmt.Sprint(2*b.fw.freePages()))
	s := b.fw.sysctl.Load()
	if s.DropEntry != 2 || s.DropPacket != 2 || s.SecureTCP != 2 || !b.fw.rules.Load().SecureTCP {
		t.Errorf("mode 1 is not in force though memory is short: %+v", *s)
	}
	if rate := b.fw.overload.rate.Load(); rate != 2 {
		t.Errorf("half of the memory is missing and one in %d is dropped, want one in 2", rate)
	}
	b.sysctl("amemthresh", "0")
	if s := b.fw.sysctl.Load(); s.DropEntry != 1 || b.fw.rules.Load().SecureTCP || b.fw.overload.rate.Load() != 0 {
		t.Errorf("the defense goes on after the shortage: %+v", *s)
	}
}

func TestDropEntryTakesHalfOpenConnections(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.send(1, seg(t, 1, aClient, aVirtual, syn, ""))
	b.send(1, seg(t, 1, aClient, aVirtual, ack, ""))
	for i := range 40 {
		b.send(1, seg(t, 1, fmt.Sprintf("172.16.0.9:%d", 40000+i), aVirtual, syn, ""))
	}
	var d conntrack.Dropper
	r := b.fw.conns.Reader()
	defer r.Close()
	for _, c := range []struct {
		mode string
		left int
	}{{"0", 41}, {"3", 1}} { // an established connection is safe for a minute
		b.sysctl("drop_entry", c.mode)
		for range 1000 {
			b.fw.dropEntries(&d, r)
		}
		if n := b.fw.conns.Len(); n != c.left {
			t.Errorf("%d connections are left with drop_entry %s, want %d", n, c.mode, c.left)
		}
	}
}
