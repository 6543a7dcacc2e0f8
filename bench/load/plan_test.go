package load

import (
	"testing"
	"time"

	"golang.org/x/net/bpf"
)

func TestAPlanCountsFramesPhaseByPhase(t *testing.T) {
	p := Plan{{1000, time.Second}, {4000, 500 * time.Millisecond}, {1000, time.Second}}
	for _, test := range []struct {
		at   time.Duration
		want uint64
	}{
		{0, 1}, {500 * time.Millisecond, 501}, {time.Second, 1001}, {1250 * time.Millisecond, 2001}, {1500 * time.Millisecond, 3001},
		{2 * time.Second, 3501}, {4 * time.Second, 5501}, // the last phase has no end
	} {
		if got := p.Due(test.at); got != test.want {
			t.Errorf("%d frames due after %v, want %d", got, test.at, test.want)
		}
		if got := p.At(test.want - 1); got != test.at {
			t.Errorf("frame %d is to leave at %v, want %v", test.want-1, got, test.at)
		}
	}
}

func TestEveryNthFlowPassesTheFilterOfAFollower(t *testing.T) {
	for _, n := range []int{1, 4, 64} {
		raw, err := eachNth(n, NAT)
		if err != nil {
			t.Fatal(err)
		}
		var program []bpf.Instruction
		for _, i := range raw {
			program = append(program, i.Disassemble())
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		s := NewStream(Load{Size: 64, Flows: 256}, 7, testDst, testMAC, testMAC)
		for i := range 512 {
			got, err := vm.Run(s.Take(1, 0)[0].Bytes())
			if want := i%n == 0; err != nil || got > 0 != want {
				t.Fatalf("1 in %d: frame %d passes: %v (%v)", n, i, got > 0, err)
			}
		}
	}
}
