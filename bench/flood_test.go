package bench

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"uvs/bench/load"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/lab/labtest"
)

var floodFor = flag.Duration("flood", 0, "measure floods with windows of this length, such as 2s, for the table in docs/reliability.md")

// flood makes frames of an attack on a service.
type flood struct {
	name string
	make func(a *attack) []byte
	prep string // command of the director before it; VIP:PORT stands for the service
	undo string // and after it
}

// attack makes frames with random contents.
type attack struct {
	*rand.Rand
	src, dst [6]byte
	vip      netip.AddrPort
	lane     lane
}

// source is an address behind the client at which nobody is.
func (a *attack) source() string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 144 + byte(a.IntN(112)), byte(1 + a.IntN(254))}), uint16(1024+a.IntN(60000))).String()
}

func (a *attack) packet(p frametest.Packet) []byte {
	p.SrcMAC, p.DstMAC = a.src, a.dst
	return p.Bytes()
}

func (a *attack) syn() []byte {
	return a.packet(frametest.Packet{Src: a.source(), Dst: a.vip.String(), Transport: frametest.TCP(frame.FlagSYN, a.Uint32(), 0)})
}

func (a *attack) datagram() []byte {
	to := netip.AddrPortFrom(a.vip.Addr(), uint16(1+a.IntN(65535)))
	return a.packet(frametest.Packet{Src: a.source(), Dst: to.String(), Transport: &layers.UDP{}, Data: "x"})
}

func (a *attack) serviceDatagram() []byte {
	return a.packet(frametest.Packet{Src: a.source(), Dst: a.vip.String(), Transport: &layers.UDP{}, Data: "x"})
}

func (a *attack) fragment() []byte {
	return a.packet(frametest.Packet{Src: strings.Split(a.source(), ":")[0], Dst: a.vip.Addr().String(), ID: uint16(a.Uint32()), MoreFragments: true,
		Offset: 8 * a.IntN(100), Proto: layers.IPProtocolUDP, Data: string(make([]byte, 64))})
}

// forged is an ICMP error about a packet that the service never sent.
func (a *attack) forged() []byte {
	inner := frametest.Packet{Src: a.vip.String(), Dst: a.source(), Transport: frametest.TCP(frame.FlagACK, a.Uint32(), a.Uint32())}.Bytes()
	return a.packet(frametest.Packet{Src: strings.Split(a.source(), ":")[0], Dst: a.vip.Addr().String(),
		Transport: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 600}, Data: string(inner)})
}

// arp is a message about the virtual address: a question from a random host of the link,
// or the claim that a random host has it.
func (a *attack) arp(claim bool) []byte {
	b := append(append([]byte{}, a.dst[:]...), a.src[:]...)
	b = append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	mac := [6]byte{2, 0x66, byte(a.Uint32()), byte(a.Uint32()), byte(a.Uint32()), byte(a.Uint32())}
	sender := outside(a.lane.number, byte(128+a.IntN(100))).As4()
	if claim {
		sender = a.vip.Addr().As4()
	}
	target := a.vip.Addr().As4()
	b = append(append(b, mac[:]...), sender[:]...)
	return append(append(append(b, make([]byte, 6)...), target[:]...), make([]byte, 18)...)
}

var floods = []flood{
	{"SYN", (*attack).syn, "", ""},
	{"SYN, SYN proxy", (*attack).syn, "uvs synproxy -t VIP:PORT on", "uvs synproxy -t VIP:PORT off"},
	{"SYN, drop_entry=3 secure_tcp=3", (*attack).syn, "uvs sysctl net.ipv4.vs.drop_entry=3 net.ipv4.vs.secure_tcp=3", "uvs sysctl net.ipv4.vs.drop_entry=0 net.ipv4.vs.secure_tcp=0"},
	{"UDP to the service", (*attack).serviceDatagram, "", ""},
	{"UDP to all ports", (*attack).datagram, "", ""},
	{"fragments", (*attack).fragment, "", ""},
	{"forged ICMP", (*attack).forged, "", ""},
	{"ARP questions", func(a *attack) []byte { return a.arp(false) }, "", ""},
	{"ARP claims", func(a *attack) []byte { return a.arp(true) }, "", ""},
}

// Rates of established traffic and of a flood, in frames a second: far from what a CPU can
// do, so that nothing is lost and the clock of the forwarder's process tells the work.
const (
	establishedRate = 20_000
	floodRate       = 20_000
)

// TestFloods measures the CPU time that a frame of a flood takes, beside the null
// forwarder, which keeps nothing and so shows what the machine needs for any frame.
func TestFloods(t *testing.T) {
	if *floodFor == 0 {
		t.Skip("a measurement: -flood 2s")
	}
	o := Options{Program: labtest.Program(t), Table: 1 << 16}
	for _, m := range []load.Method{load.Null, load.NAT, load.FullNAT} {
		o.Targets = append(o.Targets, load.Target{Method: m})
	}
	b, err := newTestbed(t.Context(), &o, &failures{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	type work struct{ alone, flooded []float64 } // CPU time a second
	all := map[string]map[string]*work{}
	for round := range 6 {
		for _, f := range floods {
			for _, target := range o.Targets {
				name := target.String()
				if all[f.name] == nil {
					all[f.name] = map[string]*work{}
				}
				if all[f.name][name] == nil {
					all[f.name][name] = &work{}
				}
				w := all[f.name][name]
				alone, flooded := b.cpu(t, flood{}, target), b.cpu(t, f, target)
				if round > 0 { // the first fills caches and tables
					w.alone, w.flooded = append(w.alone, alone), append(w.flooded, flooded)
				}
			}
		}
	}
	for _, f := range floods {
		line, null := "| "+f.name+" |", 0.0
		for i, target := range o.Targets {
			w := all[f.name][target.String()]
			alone, more := median(w.alone), (median(w.flooded)-median(w.alone))/floodRate
			if i == 0 {
				null = more
			}
			kept := func(rate float64) float64 { return (1 - rate*more) / (1 - rate*null) }
			line += fmt.Sprintf(" %.0f (established %.0f): %.2f, %.2f |", more*1e9, alone/establishedRate*1e9, kept(50_000), kept(100_000))
		}
		t.Log(line)
	}
	for _, target := range o.Targets[1:] {
		r := b.lanes[target.Process()]
		out, _ := b.lab.Exec(r.node, "sh", "-c", "grep -E 'VmHWM|VmRSS' /proc/"+strconv.Itoa(r.pid)+"/status; uvs stats")
		t.Logf("%s:\n%s", target, out)
	}
}

func median(all []float64) float64 {
	s := append([]float64{}, all...)
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	if len(s) == 0 {
		return math.NaN()
	}
	return s[len(s)/2]
}

// cpu returns the CPU time that the forwarder takes in a second, for established flows and
// perhaps a flood.
func (b *testbed) cpu(t *testing.T, f flood, target load.Target) float64 {
	t.Helper()
	r := b.lanes[target.Process()]
	vip := netip.AddrPortFrom(r.vip(), r.ports[target])
	command := func(text string) {
		if text == "" || !target.IsDirector() {
			return
		}
		words := strings.Fields(strings.ReplaceAll(text, "VIP:PORT", vip.String()))
		if out, err := b.lab.Exec(r.node, words...); err != nil {
			t.Fatal(text, err, out)
		}
	}
	command(f.prep)
	var stop atomic.Bool
	done := make(chan bool)
	if f.make != nil {
		go func() { b.attack(t, f, r, vip, &stop); close(done) }()
	} else {
		close(done)
	}
	trial, err := b.udp(target, load.Load{Size: 64, Flows: 1000, Rate: establishedRate}, 300*time.Millisecond, *floodFor, 1<<30)
	stop.Store(true)
	<-done
	if err != nil {
		t.Error(f.name, target, err)
	}
	command(f.undo)
	return trial.CPU.Seconds() / trial.Window.Seconds()
}

// attack sends frames until it is stopped.
func (b *testbed) attack(t *testing.T, f flood, r *running, vip netip.AddrPort, stop *atomic.Bool) {
	s, err := b.lab.Socket(load.ClientNode, unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	a := &attack{Rand: rand.New(rand.NewPCG(1, 2)), vip: vip, lane: r.lane}
	a.src, a.dst = b.mac(t, load.ClientNode, r.clientLink()), b.mac(t, r.node, "eth0")
	index, _ := b.lab.Exec(load.ClientNode, "cat", "/sys/class/net/"+r.clientLink()+"/ifindex")
	to := unix.SockaddrLinklayer{}
	to.Ifindex, _ = strconv.Atoi(strings.TrimSpace(string(index)))
	frames := make([][]byte, 1<<15)
	for i := range frames {
		frames[i] = f.make(a)
	}
	sent := 0
	for began := time.Now(); !stop.Load(); time.Sleep(time.Millisecond) {
		for due := int(time.Since(began).Seconds() * floodRate); sent < due; sent++ {
			_ = unix.Sendto(int(s.Fd()), frames[sent%len(frames)], 0, &to)
		}
	}
}

func (b *testbed) mac(t *testing.T, node, link string) (mac [6]byte) {
	out, err := b.lab.Exec(node, "cat", "/sys/class/net/"+link+"/address")
	if err != nil {
		t.Error(err)
	}
	hw, _ := net.ParseMAC(strings.TrimSpace(string(out)))
	copy(mac[:], hw)
	return mac
}
