package filter

import (
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// arrival is what the kernel knows of a frame beside its bytes.
type arrival struct {
	link, hardware int
	proto, mark    uint32
}

// ask runs a program on a frame that arrives so.
func ask(t *testing.T, prog []bpf.RawInstruction, a arrival, b []byte) bool {
	t.Helper()
	ins, ok := bpf.Disassemble(prog)
	if !ok {
		t.Fatal("program cannot be disassembled")
	}
	for i := range ins {
		load, ok := ins[i].(bpf.LoadExtension)
		if !ok {
			continue
		}
		value := map[bpf.Extension]uint32{
			bpf.ExtInterfaceIndex: uint32(a.link), hardwareType: uint32(a.hardware),
			bpf.ExtProto: a.proto, bpf.ExtMark: a.mark,
		}[load.Num]
		ins[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: value}
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestAProgramForAllInterfacesTellsThemApart(t *testing.T) {
	service := netip.MustParseAddrPort("10.0.0.1:80")
	wanted := packet{proto: 6, src: netip.MustParseAddrPort("172.16.0.1:1024"), dst: service}.bytes()
	other := packet{proto: 6, src: netip.MustParseAddrPort("172.16.0.1:1024"), dst: netip.MustParseAddrPort("10.0.0.9:80")}.bytes()
	few := &Links{Ethernet: []int{2, 3, 4, 300}, Bare: []int{5, 9}, Loopback: 1}
	many := &Links{Ethernet: few.Ethernet, Bare: few.Bare, Loopback: 1}
	for i := range 2000 {
		many.Ethernet = append(many.Ethernet, 1000+2*i)
	}
	tests := []struct {
		name   string
		at     arrival
		packet []byte
		want   bool
		exact  bool // only a program that names the interfaces knows
	}{
		{"a packet to a service is admitted on an interface of the director's", arrival{link: 3, hardware: unix.ARPHRD_ETHER}, wanted, true, false},
		{"so it is on the last of them", arrival{link: 300, hardware: unix.ARPHRD_ETHER}, wanted, true, false},
		{"another packet is not", arrival{link: 3, hardware: unix.ARPHRD_ETHER}, other, false, false},
		{"a port of a bridge is left to the bridge", arrival{link: 7, hardware: unix.ARPHRD_ETHER}, wanted, false, true},
		{"so is what comes after the last", arrival{link: 1 << 20, hardware: unix.ARPHRD_ETHER}, wanted, false, true},
		{"without Ethernet the headers stand elsewhere", arrival{link: 9, hardware: unix.ARPHRD_NONE, proto: frame.EtherIPv4}, wanted[frame.EthernetLen:], true, false},
		{"and tell as much", arrival{link: 5, hardware: unix.ARPHRD_NONE, proto: frame.EtherIPv4}, other[frame.EthernetLen:], false, false},
		{"what the host sends itself is admitted on the loopback interface", arrival{link: 1, hardware: unix.ARPHRD_LOOPBACK}, wanted, true, false},
		{"what the director sent is not", arrival{link: 1, hardware: unix.ARPHRD_LOOPBACK, mark: frame.OwnMark}, wanted, false, false},
		{"a mark means nothing elsewhere", arrival{link: 2, hardware: unix.ARPHRD_ETHER, mark: frame.OwnMark}, wanted, true, false},
	}
	rules := Rules{Virtual: []Tuple{{6, service.Addr(), service.Port()}}}
	for _, links := range []*Links{few, many} {
		rules.Links = links
		prog, err := rules.build(DefaultLimit)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range tests {
			if test.exact && links == many {
				continue
			}
			if got := ask(t, prog, test.at, test.packet); got != test.want {
				t.Errorf("%d interfaces: %s: admitted %v", len(links.Ethernet), test.name, got)
			}
		}
	}
}

func TestAProgramWithoutTheLoopbackInterfaceRejectsIt(t *testing.T) {
	prog, err := Rules{All: true, Links: &Links{Ethernet: []int{2}}}.build(DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 60)
	b[12], b[13] = 0x08, 0
	if ask(t, prog, arrival{link: 1, hardware: unix.ARPHRD_LOOPBACK}, b) {
		t.Error("a frame of the loopback interface is admitted")
	}
}
