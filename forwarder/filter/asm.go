package filter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// label is a position in a program: the number of instructions after the one it refers
// to.
type label int

// asm assembles a program from its last instruction to its first.
type asm struct {
	reversed []bpf.Instruction
	jumps    map[label]label // the nearest unconditional jump to a label
}

const (
	accept label = 0
	reject label = 1

	// keepBytes is how many bytes of an admitted frame are kept: all.
	keepBytes = 1 << 18
	// maxSkip is how far a conditional jump can go; two jumps may still come between it and
	// its targets.
	maxSkip = 255 - 2
)

func newAsm() *asm {
	a := &asm{jumps: map[label]label{}}
	a.emit(bpf.RetConstant{Val: keepBytes})
	a.emit(bpf.RetConstant{Val: 0})
	return a
}

// emit prepends an instruction.
func (a *asm) emit(in bpf.Instruction) label {
	a.reversed = append(a.reversed, in)
	return label(len(a.reversed) - 1)
}

// block prepends instructions, given in the order in which they run, and a jump to next
// after them unless next already follows.
func (a *asm) block(next label, ins ...bpf.Instruction) label {
	if next != a.first() {
		a.jump(next)
	}
	for _, in := range slices.Backward(ins) {
		a.emit(in)
	}
	return a.first()
}

func (a *asm) first() label { return label(len(a.reversed) - 1) }

// skip is the distance to a label from the jump that is emitted next.
func (a *asm) skip(to label) int { return len(a.reversed) - 1 - int(to) }

func (a *asm) jump(to label) label {
	l := a.emit(bpf.Jump{Skip: uint32(a.skip(to))})
	a.jumps[to] = l
	return l
}

// test prepends a conditional jump.
func (a *asm) test(cond bpf.JumpTest, val uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	yes, no = a.inRange(yes), a.inRange(no)
	return a.emit(bpf.JumpIf{Cond: cond, Val: val,
		SkipTrue: uint8(a.skip(yes)), SkipFalse: uint8(a.skip(no))})
}

// inRange returns a label that a conditional jump can reach and that leads to to.
func (a *asm) inRange(to label) label {
	if a.skip(to) <= maxSkip {
		return to
	}
	if jump, ok := a.jumps[to]; ok && a.skip(jump) <= maxSkip {
		return jump
	}
	return a.jump(to)
}

// step is the beginning of a range of numbers that lead to the same place. It
// ends where the next one begins.
type step struct {
	from uint32
	to   label
}

// search prepends a binary search for the number in the accumulator. The first step
// begins at 0.
func (a *asm) search(steps []step) label {
	if len(steps) == 1 || len(a.reversed) > DefaultLimit { // too long to be used
		return steps[0].to
	}
	mid := len(steps) / 2
	high := a.search(steps[mid:])
	low := a.search(steps[:mid])
	return a.test(bpf.JumpGreaterOrEqual, steps[mid].from, high, low)
}

// program returns the instructions in the order in which they run.
func (a *asm) program() []bpf.Instruction {
	slices.Reverse(a.reversed)
	return a.reversed
}
