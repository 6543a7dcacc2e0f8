package shim

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The descriptors of the sockets that a supervisor makes. Programs that have so many files open
// are slower to send on those: each such call asks the supervisor, who lets it go on.
const (
	firstFD = 768
	lastFD  = 1023 // the highest that select(2) can wait for, and the usual limit
)

// Offsets in the data that a filter sees (linux/seccomp.h, struct seccomp_data); of 64-bit
// arguments the low half.
const (
	offNumber = 0
	offArch   = 4
	offArg0   = 16
	offArg1   = 24
	offArg2   = 32
	offArg4   = 48
)

// Options of IPVS at the level of IP (linux/ip_vs.h, IP_VS_BASE_CTL).
const (
	firstOption = 64 + 1024 + 64
	lastOption  = firstOption + 63
)

// What a filter says of a call.
var (
	allow  = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	notify = bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
	refuse = bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)}
)

// sockets is the part of the filter that every program is under: it asks the supervisor about
// generic netlink sockets, and about sending and reading on its descriptors, and refuses IPVS's
// socket options as a kernel without the module does.
// The kernel does not even run it for calls of another number (kernel/seccomp.c,
// seccomp_cache_prepare).
var sockets = []block{
	{[]uint32{unix.SYS_SOCKET}, []bpf.Instruction{
		load(offArg0), unless(unix.AF_NETLINK, 3),
		load(offArg2), unless(unix.NETLINK_GENERIC, 1),
		notify, allow,
	}},
	{[]uint32{unix.SYS_SENDMSG, unix.SYS_SENDTO, unix.SYS_RECVMSG}, []bpf.Instruction{
		load(offArg0),
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: firstFD, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastFD, SkipTrue: 1},
		notify, allow,
	}},
	{[]uint32{unix.SYS_RECVFROM}, []bpf.Instruction{
		load(offArg0),
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: firstFD, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastFD, SkipTrue: 5},
		load(offArg4), unless(0, 2), // where the sender's address goes: nowhere?
		load(offArg4 + 4), bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		notify, allow,
	}},
	{[]uint32{unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT}, []bpf.Instruction{
		load(offArg1), unless(unix.IPPROTO_IP, 4),
		load(offArg2),
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: firstOption, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastOption, SkipTrue: 1},
		refuse, allow,
	}},
}

// block is the part of a filter about some system calls.
type block struct {
	numbers []uint32
	then    []bpf.Instruction
}

func load(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 4} }

// unless skips instructions if the loaded value is another.
func unless(value uint32, skip uint8) bpf.Instruction {
	return bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: skip}
}

// assemble returns a filter of some parts. Programs of another architecture, 32-bit ones, are left alone.
func assemble(blocks ...block) []unix.SockFilter {
	list := []bpf.Instruction{load(offArch), unless(auditArch, 1), bpf.Jump{Skip: 1}, allow, load(offNumber)}
	for _, b := range blocks {
		for i, n := range b.numbers {
			left := uint8(len(b.numbers) - 1 - i)
			skip := bpf.JumpIf{Cond: bpf.JumpEqual, Val: n, SkipTrue: left}
			if left == 0 {
				skip.SkipFalse = uint8(len(b.then))
			}
			list = append(list, skip)
		}
		list = append(list, b.then...)
	}
	raw, err := bpf.Assemble(append(list, allow))
	if err != nil {
		panic(err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter
}

// install puts the calling thread under a filter and returns its listener. Without
// CAP_SYS_ADMIN the thread cannot gain privileges any more, by setuid programs say.
func install(filter []unix.SockFilter) (listener int, err error) {
	// Once its notification is received, a call is not interrupted by signals. Otherwise the
	// kernel would restart a send that is carried out, or lose a datagram that is read. Linux 5.19.
	const calm = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	listener, err = setFilter(filter, calm)
	if errors.Is(err, unix.EACCES) {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("shim: give up new privileges: %w", err)
		}
		listener, err = setFilter(filter, calm)
	}
	if err != nil {
		return -1, refusal(err)
	}
	return listener, nil
}

// refusal says in one line why the kernel does not take the filter. It looks at the flags first
// (kernel/seccomp.c, seccomp_set_mode_filter), so one that is too old says EINVAL to everybody.
func refusal(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return errors.New("shim: another supervisor listens to this process's system calls (seccomp), and there can be one only: start the shim outside of it")
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return errors.New("shim: this kernel does not let a program listen to system calls without interruption by signals (seccomp user notification): the shim needs Linux 5.19")
	case errors.Is(err, unix.EPERM):
		return errors.New("shim: seccomp(2) is not permitted here: allow it in the container's own seccomp profile")
	}
	return fmt.Errorf("shim: install the filter: %w", err)
}
