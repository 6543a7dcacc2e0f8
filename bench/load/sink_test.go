package load

import (
	"testing"

	"golang.org/x/net/bpf"
)

// TestASampleHoldsWholeRunsOfAFlow judges the filter by its program: what it takes
// beyond chance are frames that follow each other.
func TestASampleHoldsWholeRunsOfAFlow(t *testing.T) {
	tests := []struct {
		name  string
		flows int
		frame int // of the flow
		flow  int
		want  bool
	}{
		{"every frame of one in 128 of many flows", 1000, 3, 256, true},
		{"none of the others", 1000, 3, 255, false},
		{"the first 64 frames of a lone flow", 1, 63, 0, true},
		{"not the next, because the sink could not keep up", 1, 64, 0, false},
		{"and 64 again after 8192", 1, 8192, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := NewStream(Load{Size: 64, Flows: test.flows}, 7, testDst, testMAC, testMAC)
			s.next = uint64(test.frame*test.flows + test.flow)
			e := expect{method: NAT, flows: s.flows, proto: s.proto}
			program := append(e.runs(), bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 1})
			vm, err := bpf.NewVM(program)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := vm.Run(s.Take(1, 0)[0].Bytes()); err != nil || n > 0 != test.want {
				t.Errorf("taken %v, want %v (%v)", n > 0, test.want, err)
			}
		})
	}
	for _, flows := range []uint32{1, 1000} {
		e := expect{method: Tunnel, flows: flows}
		if _, err := sample(2048, e.runs()...); err != nil {
			t.Error(err)
		}
	}
}
