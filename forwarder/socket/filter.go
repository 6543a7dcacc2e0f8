package socket

import (
	"errors"
	"syscall"

	"golang.org/x/net/bpf"
)

// outgoing is the sll_pkttype of frames this host sends (PACKET_OUTGOING, packet(7)).
const outgoing = 4

// guarded prepends the port's own tests to a filter: frames that this host sends and
// frames in a VLAN are rejected. Jumps in a classic program are relative, so the filter
// itself stays as it is.
func guarded(filter []bpf.RawInstruction) ([]bpf.RawInstruction, error) {
	head, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: outgoing, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, err
	}
	if filter == nil {
		filter, err = bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 1 << 18}})
	}
	return append(head, filter...), err
}

// passing reports whether an error of the socket is temporary: the interface went down,
// and frames arrive again when it is up.
func passing(err error) bool { return errors.Is(err, syscall.ENETDOWN) }
