package ipvsnl

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// recording is a line of testdata/recorded.jsonl: messages and answers in hexadecimal digits.
// Each answer is one datagram. The family's number and the asker's port are 0 in them.
type recording struct {
	Name  string `json:"name"`
	Steps []step `json:"steps"`
}

type step struct {
	Ask     string   `json:"ask"`
	Answers []string `json:"answers"`
}

// TestRecord asks the kernel it runs on and writes what it answers to $OUT/recorded.jsonl.
// It is run in a VM with IPVS:
//
//	go test -c -o /tmp/ipvsnl.test ./internal/ipvsnl
//	go run ./internal/kernelvm/askkernel -out internal/ipvsnl/testdata sh -c \
//		'modprobe ip_vs; UVS_RECORD=1 /tmp/ipvsnl.test -test.run TestRecord -test.v'
func TestRecord(t *testing.T) {
	if os.Getenv("UVS_RECORD") == "" {
		t.Skip("it is run by hand, in a VM with the real IPVS")
	}
	runtime.LockOSThread() // never unlocked: the thread is in another namespace at the end
	var out bytes.Buffer
	for _, talk := range talks() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Fatal(err)
		}
		loopbackUp(t)
		line, err := json.Marshal(record(t, talk))
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("OUT"), "recorded.jsonl"), out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func loopbackUp(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		t.Fatal(err)
	}
}

// record asks one talk on a socket of its own.
func record(t *testing.T, talk talk) recording {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	family := familyID(t, fd)
	r := recording{Name: talk.name}
	for i, ask := range talk.asks {
		b := ask.message(uint32(i + 1))
		plain := hex.EncodeToString(b)
		binary.NativeEndian.PutUint16(b[4:], family)
		r.Steps = append(r.Steps, step{plain, replies(t, fd, b)})
		time.Sleep(20 * time.Millisecond) // a daemon that is ended before it runs answers nothing
	}
	return r
}

// message returns the ask as bytes, for family 0.
func (a ask) message(seq uint32) []byte {
	b, err := netlink.Message{
		Header: netlink.Header{Length: uint32(20 + len(a.attrs)), Flags: a.flags, Sequence: seq},
		Data:   append([]byte{byte(a.cmd), Version, 0, 0}, a.attrs...),
	}.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return b
}

// replies sends a message and reads what comes: the kernel has answered when a send returns,
// but for the parts of a dump.
func replies(t *testing.T, fd int, b []byte) (all []string) {
	t.Helper()
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, hex.EncodeToString(plain(buf[:n])))
	}
}

// plain sets the family's number and the asker's port in each message of a datagram to 0,
// also in the copy that an error has of the question.
func plain(b []byte) []byte {
	b = bytes.Clone(b)
	for m := b; len(m) >= unix.NLMSG_HDRLEN; {
		size := int(binary.NativeEndian.Uint32(m))
		anonymous(m)
		if binary.NativeEndian.Uint16(m[4:]) == unix.NLMSG_ERROR {
			anonymous(m[20:])
		}
		m = m[min(len(m), (size+3)&^3):]
	}
	return b
}

func anonymous(header []byte) {
	if binary.NativeEndian.Uint16(header[4:]) >= unix.NLMSG_MIN_TYPE {
		binary.NativeEndian.PutUint16(header[4:], 0)
	}
	binary.NativeEndian.PutUint32(header[12:], 0)
}

func familyID(t *testing.T, fd int) uint16 {
	attrs := encode(text(unix.CTRL_ATTR_FAMILY_NAME, Name))
	ask, err := netlink.Message{
		Header: netlink.Header{Length: uint32(20 + len(attrs)), Type: unix.GENL_ID_CTRL, Flags: netlink.Request, Sequence: 99},
		Data:   append([]byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}, attrs...),
	}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	if out := os.Getenv("OUT"); out != "" {
		os.WriteFile(filepath.Join(out, "family.hex"), []byte(hex.EncodeToString(buf[:n])), 0o644)
	}
	found, err := netlink.NewAttributeDecoder(buf[20:n])
	if err != nil {
		t.Fatal(err)
	}
	for found.Next() {
		if found.Type() == unix.CTRL_ATTR_FAMILY_ID {
			return found.Uint16()
		}
	}
	t.Fatalf("no family %s: %x", Name, buf[:n])
	return 0
}

// recordings reads testdata/recorded.jsonl.
func recordings(tb testing.TB) (all []recording) {
	tb.Helper()
	f, err := os.Open("testdata/recorded.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			tb.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}
