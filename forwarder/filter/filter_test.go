package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"uvs/forwarder/frame"
)

// packet is what a filter sees of a frame.
type packet struct {
	proto    uint8
	src, dst netip.AddrPort
	options  int  // bytes of IPv4 options, in fours
	fragment bool // a later fragment
}

func (p packet) bytes() []byte {
	b := make([]byte, frame.EthernetLen, 120)
	if p.src.Addr().Is4() {
		b[12], b[13] = 0x08, 0x00
		ip := make([]byte, 20+p.options)
		ip[0] = 0x40 | byte(len(ip)/4)
		ip[9] = p.proto
		if p.fragment {
			ip[7] = 185
		}
		copy(ip[12:], p.src.Addr().AsSlice())
		copy(ip[16:], p.dst.Addr().AsSlice())
		b = append(b, ip...)
	} else {
		b[12], b[13] = 0x86, 0xdd
		ip := make([]byte, 40)
		ip[0], ip[6] = 0x60, p.proto
		if p.fragment {
			ip[6] = frame.ProtoFragment
		}
		copy(ip[8:], p.src.Addr().AsSlice())
		copy(ip[24:], p.dst.Addr().AsSlice())
		b = append(b, ip...)
	}
	b = binary.BigEndian.AppendUint16(b, p.src.Port())
	b = binary.BigEndian.AppendUint16(b, p.dst.Port())
	return append(b, 0, 0, 0, 0)
}

// Rules say what belongs to the director.
type Rules struct {
	Virtual []Tuple      // destinations of packets to services
	Servers []Tuple      // sources of replies
	Local   []netip.Addr // destinations admitted whatever the protocol and port
	All     bool         // all IP packets
	Host    bool         // for the loopback interface
	Links   *Links
}

func (r *Rules) scope() Scope { return Scope{All: r.All, Host: r.Host, Links: r.Links} }

// ends returns the ends that rules name.
func (r *Rules) ends() *Ends {
	e := &Ends{}
	byAddr := func(a, b Tuple) int { return a.Addr.Compare(b.Addr) }
	for _, t := range slices.SortedFunc(slices.Values(r.Virtual), byAddr) {
		e.Virtual(t, true)
	}
	for _, t := range slices.SortedFunc(slices.Values(r.Servers), byAddr) {
		e.Server(t, true)
	}
	for _, a := range r.Local {
		e.Local(a, true)
	}
	return e
}

func (r Rules) build(limit int) ([]bpf.RawInstruction, error) {
	return r.ends().Build(limit, r.scope())
}

// wants is the meaning of the rules, said plainly.
func (r *Rules) wants(p packet) bool {
	if r.All || p.fragment || p.proto == frame.ProtoICMP && p.src.Addr().Is4() {
		return true
	}
	if !p.src.Addr().Is4() {
		switch p.proto {
		case frame.ProtoICMPv6, frame.ProtoHopByHop, frame.ProtoRouting, frame.ProtoFragment, frame.ProtoAH, frame.ProtoDestOpts, frame.ProtoMobility:
			return true
		}
	}
	for _, a := range r.Local {
		if a == p.dst.Addr() {
			return true
		}
	}
	return covers(r.Virtual, p.proto, p.dst) || covers(r.Servers, p.proto, p.src)
}

func covers(tuples []Tuple, proto uint8, end netip.AddrPort) bool {
	port := end.Port()
	if proto != frame.ProtoTCP && proto != frame.ProtoUDP && proto != frame.ProtoSCTP {
		port = 0
	}
	for _, t := range tuples {
		if t.Addr == end.Addr() && (t.Proto == 0 || t.Proto == proto && (t.Port == 0 || t.Port == port)) {
			return true
		}
	}
	return false
}

// machine runs a program as the kernel would.
func machine(t testing.TB, prog []bpf.RawInstruction) func([]byte) bool {
	t.Helper()
	ins, ok := bpf.Disassemble(prog)
	if !ok {
		t.Fatal("program cannot be disassembled")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return func(b []byte) bool {
		n, err := vm.Run(b)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
}

// Few different values, so that packets meet rules.
var (
	protos = rapid.SampledFrom([]uint8{0, 6, 17, 132, 1, 58, 44, 50, 51, 47, 43})
	ports  = rapid.SampledFrom([]uint16{0, 1, 79, 80, 81, 443, 65535})
	addrs  = rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "is4") {
			b := [4]byte{10, 0, 0, 0}
			for i := range b {
				b[i] += rapid.SampledFrom([]byte{0, 1, 2, 255}).Draw(t, "byte")
			}
			return netip.AddrFrom4(b)
		}
		b := [16]byte{0: 0xfd}
		for i := 3; i < 16; i += 4 {
			b[i] = rapid.SampledFrom([]byte{0, 1, 255}).Draw(t, "byte")
		}
		return netip.AddrFrom16(b)
	})
	tuples = rapid.Custom(func(t *rapid.T) Tuple {
		return Tuple{protos.Draw(t, "proto"), addrs.Draw(t, "addr"), ports.Draw(t, "port")}
	})
	rules = rapid.Custom(func(t *rapid.T) Rules {
		return Rules{
			Virtual: rapid.SliceOfN(tuples, 0, 30).Draw(t, "virtual"),
			Servers: rapid.SliceOfN(tuples, 0, 30).Draw(t, "servers"),
			Local:   rapid.SliceOfN(addrs, 0, 5).Draw(t, "local"),
			All:     rapid.IntRange(0, 20).Draw(t, "all") == 0,
		}
	})
)

// drawPacket draws a packet that is often near a rule.
func drawPacket(t *rapid.T, r *Rules) packet {
	src, dst := addrs.Draw(t, "src"), addrs.Draw(t, "dst")
	near := append(append([]Tuple(nil), r.Virtual...), r.Servers...)
	p := packet{proto: protos.Draw(t, "proto")}
	if len(near) > 0 && rapid.Bool().Draw(t, "near") {
		n := rapid.SampledFrom(near).Draw(t, "rule")
		src, dst = n.Addr, n.Addr
		p.proto = n.Proto
	}
	for src.Is4() != dst.Is4() {
		src = addrs.Draw(t, "src again")
	}
	p.src = netip.AddrPortFrom(src, ports.Draw(t, "sport"))
	p.dst = netip.AddrPortFrom(dst, ports.Draw(t, "dport"))
	p.options = 4 * rapid.IntRange(0, 10).Draw(t, "options")
	p.fragment = rapid.IntRange(0, 9).Draw(t, "fragment") == 0
	return p
}

func TestProgramMeansTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rules.Draw(t, "rules")
		prog, err := r.build(DefaultLimit)
		if err != nil {
			t.Fatal(err)
		}
		run := vmOf(t, prog)
		for range 20 {
			p := drawPacket(t, &r)
			if got, want := run(p.bytes()), r.wants(p); got != want {
				t.Fatalf("%+v: admitted %v, want %v", p, got, want)
			}
		}
	})
}

func TestCoarseProgramNeverRejectsWhatTheRulesWant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rules.Draw(t, "rules")
		limit := rapid.IntRange(20, 200).Draw(t, "limit")
		prog, err := r.build(limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(prog) > limit {
			t.Fatalf("%d instructions, limit %d", len(prog), limit)
		}
		run := vmOf(t, prog)
		for range 20 {
			if p := drawPacket(t, &r); r.wants(p) && !run(p.bytes()) {
				t.Fatalf("%+v is rejected", p)
			}
		}
	})
}

// vmOf is machine for rapid's T.
func vmOf(t *rapid.T, prog []bpf.RawInstruction) func([]byte) bool {
	ins, ok := bpf.Disassemble(prog)
	vm, err := bpf.NewVM(ins)
	if !ok || err != nil {
		t.Fatalf("disassembled %v, %v", ok, err)
	}
	return func(b []byte) bool {
		n, err := vm.Run(b)
		return err == nil && n > 0
	}
}

func TestEtherTypes(t *testing.T) {
	prog, err := Rules{}.build(DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	run := machine(t, prog)
	tests := []struct {
		name      string
		etherType uint16
		want      bool
	}{
		{"ARP is admitted", frame.EtherARP, true},
		{"a frame with its tag inside is none of ours", frame.EtherVLAN, false},
		{"spanning tree is none of ours", 38, false},
		{"LLDP is none of ours", 0x88cc, false},
		{"an IPv4 packet that concerns nobody is rejected", frame.EtherIPv4, false},
	}
	for _, test := range tests {
		b := make([]byte, 60)
		binary.BigEndian.PutUint16(b[12:], test.etherType)
		b[14], b[23] = 0x45, 6
		if got := run(b); got != test.want {
			t.Errorf("%s: admitted %v", test.name, got)
		}
	}
	if run(make([]byte, 13)) {
		t.Error("a frame shorter than Ethernet is admitted")
	}
}

// services returns n services; scattered puts them far apart.
func services(n int, scattered bool, serversEach int) Rules {
	var r Rules
	for i := range n {
		v := uint32(10)<<24 | uint32(i)
		if scattered {
			v = uint32(i) * 2654435761
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], v)
		r.Virtual = append(r.Virtual, Tuple{6, netip.AddrFrom4(b), uint16(80 + i%7)})
		for j := range serversEach {
			binary.BigEndian.PutUint32(b[:], v^uint32(j+1)<<12)
			r.Servers = append(r.Servers, Tuple{6, netip.AddrFrom4(b), 8080})
		}
	}
	return r
}

func TestThousandsOfServicesFit(t *testing.T) {
	tests := []struct {
		n         int
		scattered bool
		servers   int
		limit     int
	}{
		{100, true, 2, 4096}, {1000, false, 0, 4096}, {1000, true, 2, 4096}, {10000, false, 2, 4096},
		{10000, true, 2, 4096}, {10000, true, 2, 640}, {10000, true, 0, 64},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			r := services(test.n, test.scattered, test.servers)
			prog, err := r.build(test.limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(prog) > test.limit {
				t.Errorf("%d instructions, limit %d", len(prog), test.limit)
			}
			run := machine(t, prog)
			client := netip.MustParseAddrPort("192.0.2.1:1024")
			for i, v := range r.Virtual {
				if !run(packet{proto: 6, src: client, dst: netip.AddrPortFrom(v.Addr, v.Port)}.bytes()) {
					t.Fatalf("service %d is rejected", i)
				}
			}
			for i, s := range r.Servers {
				if !run(packet{proto: 6, src: netip.AddrPortFrom(s.Addr, s.Port), dst: client}.bytes()) {
					t.Fatalf("reply of server %d is rejected", i)
				}
			}
			t.Logf("%d instructions", len(prog))
		})
	}
}

func TestBuildFailsOnlyBelowTheShortestProgram(t *testing.T) {
	if _, err := (Rules{}).build(3); err == nil {
		t.Error("a program of 3 instructions is possible")
	}
	if _, err := services(100, true, 1).build(20); err != nil {
		t.Error(err)
	}
}

func TestFitTriesCoarserProgramsWhenMemoryIsShort(t *testing.T) {
	var lengths []int
	r := services(1000, true, 1)
	err := r.ends().Install(0, Scope{}, func(prog []bpf.RawInstruction) error {
		lengths = append(lengths, len(prog))
		if len(prog) > 700 {
			return fmt.Errorf("set filter: %w", unix.ENOMEM)
		}
		return nil
	})
	if err != nil || lengths[len(lengths)-1] > 700 || len(lengths) < 2 {
		t.Errorf("tried %v, %v", lengths, err)
	}
}

func BenchmarkBuild(b *testing.B) {
	r := services(10000, true, 2)
	for b.Loop() {
		if _, err := r.build(DefaultLimit); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzFilterOnAnyBytes(f *testing.F) {
	r := services(50, true, 1)
	prog, err := r.build(DefaultLimit)
	if err != nil {
		f.Fatal(err)
	}
	ins, _ := bpf.Disassemble(prog)
	vm, err := bpf.NewVM(ins)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(packet{proto: 6, src: netip.MustParseAddrPort("[fd00::1]:1"), dst: netip.MustParseAddrPort("[fd00::2]:1")}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := vm.Run(b); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Skip(err)
		}
	})
}

// The director's own packets must not come back to it on the loopback interface.
func TestTheLoopbackInterfacesFilterRejectsOwnPacketsFirst(t *testing.T) {
	prog, err := Rules{All: true, Host: true}.build(DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	all, ok := bpf.Disassemble(prog)
	if !ok || len(all) < 2 {
		t.Fatalf("program of %d instructions", len(all))
	}
	if all[0] != (bpf.LoadExtension{Num: bpf.ExtMark}) {
		t.Errorf("the program begins with %v", all[0])
	}
	jump, ok := all[1].(bpf.JumpIf)
	if !ok || jump.Val != frame.OwnMark || all[2+int(jump.SkipTrue)] != (bpf.RetConstant{Val: 0}) {
		t.Errorf("the mark leads to %v", all[1])
	}
}
