package shim

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/internal/ipvsnl"
)

// TestWhatCannotBePassedIsRefused asks in a namespace that cannot be entered, as that of a plain
// user's child in a user namespace of its own.
func TestWhatCannotBePassedIsRefused(t *testing.T) {
	closed, err := os.Open("/dev/null") // setns(2) does not take it
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	ns := &namespace{file: closed}
	for _, c := range []struct {
		name  string
		flags uint16
	}{
		{"a question", unix.NLM_F_REQUEST},
		{"a list", unix.NLM_F_REQUEST | unix.NLM_F_DUMP},
	} {
		m := question(c.flags)
		got := ns.pass(m)
		if len(got) != 1 {
			t.Errorf("%s: %d answers, want the error", c.name, len(got))
			continue
		}
		answer := ipvsnl.Message(got[0])
		number := -int32(native.Uint32(answer[unix.NLMSG_HDRLEN:]))
		if answer.Type() != unix.NLMSG_ERROR || number != int32(unix.EINVAL) || native.Uint32(answer[8:]) != sequence {
			t.Errorf("%s: % x, want EINVAL", c.name, answer)
		}
	}
}

const sequence = 4711

// question asks the kernel for its generic netlink families.
func question(flags uint16) ipvsnl.Message {
	m := native.AppendUint32(nil, unix.NLMSG_HDRLEN+unix.GENL_HDRLEN)
	m = native.AppendUint16(m, unix.GENL_ID_CTRL)
	m = native.AppendUint16(m, flags)
	m = native.AppendUint32(m, sequence)
	m = native.AppendUint32(m, 0)
	return append(m, unix.CTRL_CMD_GETFAMILY, 1, 0, 0)
}
