package modes_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// recording is one case of testdata/*.jsonl: packets that Linux 6.1 IPVS received, and every
// frame it sent for each.
type recording struct {
	Case   string
	Setup  []string
	Frames []recordedFrame
}

type recordedFrame struct {
	Inject string
	Pkt    string
	Descr  string
	Out    []struct{ Side, Frame, Descr string }
}

func recordings(t testing.TB, file string) []recording {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []recording
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<22)
	for s.Scan() {
		var r recording
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// recordedServices are the services of the recordings. Each case had virtual
// addresses of its own, so one director can have them all.
func recordedServices(d *director) {
	nat, dr := modes.NAT{}, modes.DR{}
	d.add("tcp 10.2.0.1:80", nat, "10.1.0.1:8080")
	d.add("udp 10.2.0.2:53", nat, "10.1.0.1:5353")
	d.add("tcp [fd00:2::3]:80", nat, "[fd00:1::1]:8080")
	d.add("udp [fd00:2::3]:53", nat, "[fd00:1::1]:53")
	d.add("tcp 10.2.0.4:0", nat, "10.1.0.1:0")
	d.add("tcp 10.2.0.5:80", dr, "10.1.0.1:80")
	d.add("udp 10.2.0.6:53", dr, "10.1.0.1:53")
	d.add("tcp [fd00:2::7]:80", dr, "[fd00:1::1]:80")
	d.add("udp [fd00:2::7]:53", dr, "[fd00:1::1]:53")
	d.add("tcp 10.2.0.8:0", dr, "10.1.0.1:0")
	d.add("sctp 10.2.0.35:2905", nat, "10.1.0.1:2906")
	d.add("tcp 10.2.0.30:80", nat, "10.1.0.1:80") // schedule_icmp=1
	tunnelServices(d)
	for _, s := range []string{"tcp 10.2.0.25:80", "udp 10.2.0.26:80", "tcp [fd00:2::19]:80", "udp [fd00:2::1a]:80"} {
		d.services[s] = service{code: modes.PortUnreachable}
	}
	d.services["udp 10.2.0.31:53"] = service{code: modes.PortUnreachable}
	d.services["udp 10.2.0.32:53"] = service{code: modes.HostUnreachable}
	d.services["tcp 10.2.0.32:80"] = service{code: modes.HostUnreachable}
}

func tunnelServices(d *director) {
	d.addTunnel("tcp 10.2.0.9:80", "10.1.0.1:80", config.IPIP, 0, true)
	d.addTunnel("tcp [fd00:2::b]:80", "[fd00:1::1]:80", config.IPIP, 0, true)
	d.addTunnel("udp [fd00:2::b]:53", "[fd00:1::1]:53", config.IPIP, 0, true)
	d.addTunnel("tcp 10.2.0.33:80", "10.1.0.1:80", config.IPIP, 0, false)
	for _, k := range []struct {
		typ     config.TunnelType
		flags   config.TunnelFlags
		v4, v6  string // virtual addresses of the two cases of a kind
		mixed   string // and IPv4 to an IPv6 server
		rs, rs6 string
	}{
		{config.IPIP, 0, "10.2.0.13", "fd00:2::e", "10.2.0.14", "10.1.0.20", "fd00:1::14"},
		{config.GUE, config.TunnelNoCsum, "10.2.0.15", "fd00:2::10", "10.2.0.16", "10.1.0.21", "fd00:1::15"},
		{config.GUE, config.TunnelCsum, "10.2.0.17", "fd00:2::12", "10.2.0.18", "10.1.0.22", "fd00:1::16"},
		{config.GUE, config.TunnelRemCsum, "10.2.0.19", "fd00:2::14", "10.2.0.20", "10.1.0.23", "fd00:1::17"},
		{config.GRE, config.TunnelNoCsum, "10.2.0.21", "fd00:2::16", "10.2.0.22", "10.1.0.24", "fd00:1::18"},
		{config.GRE, config.TunnelCsum, "10.2.0.23", "fd00:2::18", "10.2.0.24", "10.1.0.25", "fd00:1::19"},
	} {
		d.addTunnel("tcp "+k.v4+":80", k.rs+":80", k.typ, k.flags, true)
		d.addTunnel("udp "+k.v4+":53", k.rs+":53", k.typ, k.flags, true)
		d.addTunnel("tcp ["+k.v6+"]:80", "["+k.rs6+"]:80", k.typ, k.flags, true)
		d.addTunnel("udp ["+k.v6+"]:53", k.rs+":53", k.typ, k.flags, true)
		d.addTunnel("udp "+k.mixed+":53", "["+k.rs6+"]:53", k.typ, k.flags, true)
	}
}

// notRewriting names the cases that do not concern this package.
var notRewriting = map[string]string{
	"10.2.0.28": "nat_icmp_send: whether replies without a connection are answered is the forwarder's to say",
	"10.2.0.31": "the server is the director itself: its own stack answers",
	"10.2.0.29": "one-packet scheduling leaves replies untranslated: the forwarder's",
}

func TestRecorded(t *testing.T) {
	d := newDirector(t)
	recordedServices(d)
	for i := range 64 {
		d.locals[addr("10.2.0."+itoa(i))] = true
		d.locals[addr("fd00:2::"+hex.EncodeToString([]byte{byte(i)}))] = true
	}
	for _, r := range recordings(t, "testdata/xform.jsonl") {
		t.Run(r.Case, func(t *testing.T) {
			if why := notRewriting[r.Case]; why != "" {
				t.Skip(why)
			}
			for _, f := range r.Frames {
				in, _ := hex.DecodeString(f.Pkt)
				compare(t, d.inject(f.Inject[0], in), f)
			}
		})
	}
}

func itoa(i int) string {
	return strings.TrimLeft(string([]byte{'0' + byte(i/10), '0' + byte(i%10)}), "0") + map[bool]string{true: "0"}[i == 0]
}

// blank sets to zero what differs from run to run: MAC addresses, identifications
// the director chose, flow labels, GUE's source port, and checksums over them.
// Those checksums are verified first.
func blank(b []byte) []byte {
	b = bytes.Clone(b)
	clear(b[:12])
	ip := b[frame.EthernetLen:]
	if ip[0]>>4 == 6 {
		ip[1], ip[2], ip[3] = ip[1]&0xf0, 0, 0
		switch ip[6] {
		case frame.ProtoUDP:
			blankGUE(ip, ip[40:])
		case 44:
			if ip[40] == frame.ProtoUDP && ip[42] == 0 && ip[50] == 6080>>8 && ip[51] == 6080&255 {
				clear(ip[48:50]) // GUE in fragments
			}
			clear(ip[44:48]) // IPv6 fragments get a new identification from Linux, keep theirs here
		}
		return b
	}
	if ip[8] == 64 || bytes.Equal(ip[12:16], []byte{10, 1, 255, 254}) { // made here, or a tunnel's
		if frame.Checksum(ip[:20]) != 0 {
			return b
		}
		clear(ip[10:12])
		if binary.BigEndian.Uint16(ip[4:]) != 0 {
			ip[4], ip[5] = 0xff, 0xff
		}
	}
	if isGUE(ip) {
		blankGUE(ip, ip[20:])
	}
	return b
}

func isGUE(ip []byte) bool {
	first := binary.BigEndian.Uint16(ip[6:])&0x1fff == 0
	return ip[0]>>4 == 4 && ip[9] == frame.ProtoUDP && first && binary.BigEndian.Uint16(ip[22:]) == 6080
}

func blankGUE(ip, udp []byte) {
	if binary.BigEndian.Uint16(udp[2:]) != 6080 {
		return
	}
	src, dst := ip[12:16], ip[16:20]
	if ip[0]>>4 == 6 {
		src, dst = ip[8:24], ip[24:40]
	}
	more := ip[0]>>4 == 4 && ip[6]&0x20 != 0
	sum := binary.BigEndian.Uint16(udp[6:])
	if sum != 0 && !more && frame.Fold(frame.Sum(udp, frame.PseudoSum(src, dst, frame.ProtoUDP, len(udp)))) != 0xffff {
		return
	}
	if port := binary.BigEndian.Uint16(udp); port < 32768 || port > 60999 {
		return
	}
	clear(udp[:2])
	if sum != 0 {
		udp[6], udp[7] = 0xff, 0xff
	}
}
