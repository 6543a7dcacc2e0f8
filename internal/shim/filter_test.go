package shim

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestTheSupervisorIsAskedSeldom runs the filter on system calls.
func TestTheSupervisorIsAskedSeldom(t *testing.T) {
	const (
		allowed = unix.SECCOMP_RET_ALLOW
		asked   = unix.SECCOMP_RET_USER_NOTIF
		refused = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)
	)
	for _, c := range []struct {
		name   string
		number uint32
		args   [6]uint64
		arch   uint32
		want   uint32
	}{
		{"a generic netlink socket", unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC}, auditArch, asked},
		{"a route socket", unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, auditArch, allowed},
		{"a socket of another family", unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_RAW, unix.NETLINK_GENERIC}, auditArch, allowed},
		{"a send on a low descriptor", unix.SYS_SENDMSG, [6]uint64{firstFD - 1}, auditArch, allowed},
		{"a send on the first of the shim's", unix.SYS_SENDMSG, [6]uint64{firstFD}, auditArch, asked},
		{"a send on the last of the shim's", unix.SYS_SENDTO, [6]uint64{lastFD}, auditArch, asked},
		{"a send on a high descriptor", unix.SYS_SENDTO, [6]uint64{lastFD + 1}, auditArch, allowed},
		{"a read on a low descriptor", unix.SYS_RECVMSG, [6]uint64{3}, auditArch, allowed},
		{"a read on the shim's", unix.SYS_RECVMSG, [6]uint64{firstFD}, auditArch, asked},
		{"a read that asks who sent", unix.SYS_RECVFROM, [6]uint64{firstFD, 0, 0, 0, 1 << 40}, auditArch, asked},
		{"a read that does not ask", unix.SYS_RECVFROM, [6]uint64{firstFD}, auditArch, allowed},
		{"a read on a low descriptor that asks", unix.SYS_RECVFROM, [6]uint64{3, 0, 0, 0, 1 << 40}, auditArch, allowed},
		{"IPVS's option to read", unix.SYS_GETSOCKOPT, [6]uint64{9, unix.IPPROTO_IP, firstOption + 1}, auditArch, refused},
		{"IPVS's option to write", unix.SYS_SETSOCKOPT, [6]uint64{9, unix.IPPROTO_IP, firstOption + 2}, auditArch, refused},
		{"another option", unix.SYS_SETSOCKOPT, [6]uint64{9, unix.IPPROTO_IP, unix.IP_TTL}, auditArch, allowed},
		{"the same option of sockets", unix.SYS_SETSOCKOPT, [6]uint64{9, unix.SOL_SOCKET, firstOption + 1}, auditArch, allowed},
		{"another call", unix.SYS_READ, [6]uint64{firstFD}, auditArch, allowed},
		{"another architecture", unix.SYS_SENDMSG, [6]uint64{firstFD}, unix.AUDIT_ARCH_I386, allowed},
	} {
		if got := decision(t, assemble(sockets...), c.number, c.arch, c.args); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
		if got := decision(t, assemble(append(sockets, opens)...), unix.SYS_OPENAT, auditArch, c.args); got != asked {
			t.Errorf("opening a file: %#x, want %#x", got, asked)
		}
		if got := decision(t, assemble(append(sockets, opens)...), c.number, c.arch, c.args); got != c.want {
			t.Errorf("%s, with files: %#x, want %#x", c.name, got, c.want)
		}
	}
}

// decision returns what a filter says of a call. The virtual machine reads words in network
// byte order, the kernel in its own.
func decision(t *testing.T, filter []unix.SockFilter, number, arch uint32, args [6]uint64) uint32 {
	t.Helper()
	list := make([]bpf.Instruction, len(filter))
	for i, f := range filter {
		list[i] = bpf.RawInstruction{Op: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K}.Disassemble()
	}
	vm, err := bpf.NewVM(list)
	if err != nil {
		t.Fatal(err)
	}
	data := binary.BigEndian.AppendUint32(nil, number)
	data = binary.BigEndian.AppendUint32(data, arch)
	data = append(data, make([]byte, 8)...) // instruction pointer
	for _, a := range args {
		data = binary.BigEndian.AppendUint32(data, uint32(a)) // the low half first, as on these architectures
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

func TestARefusedFilterIsExplained(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{unix.EINVAL, "needs Linux 5.19"},
		{unix.ENOSYS, "needs Linux 5.19"},
		{unix.EBUSY, "another supervisor"},
		{unix.EPERM, "not permitted here"},
		{unix.ENOMEM, "cannot allocate memory"},
	} {
		if got := refusal(c.err).Error(); !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%v: %q, want %q in one line", c.err, got, c.want)
		}
	}
}
