package shim

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// rights are the supervisor's own, with which it carries out what programs send. It does so only
// for those that have them as well.
type rights struct {
	user      int    // effective
	admin     bool   // CAP_NET_ADMIN
	namespace uint64 // of users, in which the capability counts
}

func ownRights() (rights, error) {
	admin, err := administers(0)
	if err != nil {
		return rights{}, fmt.Errorf("read the own capabilities: %w", err)
	}
	namespace, err := inodeOf("/proc/self/ns/user")
	if err != nil {
		return rights{}, err
	}
	return rights{os.Geteuid(), admin, namespace}, nil
}

// within reports whether a thread has the rights. Whoever asks under a process ID must see
// afterwards that the call still waits.
func (r rights) within(thread uint32) bool {
	if effectiveUser(thread) != strconv.Itoa(r.user) {
		return false
	}
	if !r.admin {
		return true
	}
	namespace, err := inodeOf(fmt.Sprintf("/proc/%d/ns/user", thread))
	if err != nil || namespace != r.namespace {
		return false
	}
	admin, err := administers(thread)
	return err == nil && admin
}

// administers reports whether CAP_NET_ADMIN is among a thread's effective capabilities; 0 is the
// calling one.
func administers(thread uint32) (bool, error) {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(thread)}
	err := unix.Capget(&header, &data[0])
	return data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0, err
}

// effectiveUser returns a thread's effective user as /proc writes it, nothing if it has ended.
func effectiveUser(thread uint32) string {
	fd, err := unix.Open("/proc/"+strconv.Itoa(int(thread))+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var text [512]byte // the line is among the first ten
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(text[:n], []byte("\nUid:\t"))
	_, rest, _ = bytes.Cut(rest, []byte("\t")) // the real one comes first
	effective, _, whole := bytes.Cut(rest, []byte("\t"))
	if !whole {
		return ""
	}
	return string(effective)
}

// message is what a program sends.
type message struct {
	data []byte
	port uint32 // of the receiver; 0 is the kernel
}

// Bounds of what a program may send at once. Messages of the family have some hundred bytes.
const (
	maxMessage = 1 << 20
	maxPieces  = 1024 // UIO_MAXIOV
)

// readMessage reads the message of sendto(2) or sendmsg(2) from a program's memory.
func readMessage(n notification) (message, error) {
	r := reader{pid: int(n.pid)}
	if n.number == unix.SYS_SENDTO {
		data := r.pieces([]piece{{n.args[1], n.args[2]}})
		return message{data, r.port(n.args[4], uint32(n.args[5]))}, r.err
	}
	header := r.bytes(n.args[1], sizeofHeader)
	list := r.vector(native.Uint64(header[offVector:]), native.Uint64(header[offCount:]))
	data := r.pieces(list)
	return message{data, r.port(native.Uint64(header), native.Uint32(header[offNameLen:]))}, r.err
}

// reader reads a program's memory. After an error it reads nothing more.
type reader struct {
	pid int
	err error
}

// piece is a part of memory: struct iovec.
type piece struct{ base, size uint64 }

func (r *reader) bytes(address uint64, n int) []byte {
	b := make([]byte, n)
	if r.err == nil {
		r.err = readMemory(r.pid, address, b)
	}
	return b
}

// vector returns an array of struct iovec.
func (r *reader) vector(address, count uint64) []piece {
	if count > maxPieces {
		r.err = unix.EMSGSIZE
	}
	if r.err != nil {
		return nil
	}
	b := r.bytes(address, int(16*count))
	list := make([]piece, count)
	for i := range list {
		list[i] = piece{native.Uint64(b[16*i:]), native.Uint64(b[16*i+8:])}
	}
	return list
}

func (r *reader) pieces(list []piece) (data []byte) {
	for _, p := range list {
		if p.size > maxMessage || len(data)+int(p.size) > maxMessage {
			r.err = unix.EMSGSIZE
		}
		if r.err != nil {
			return nil
		}
		data = append(data, r.bytes(p.base, int(p.size))...)
	}
	return data
}

// port returns the port in a netlink address, 0 if there is none.
func (r *reader) port(address uint64, size uint32) uint32 {
	if address == 0 || size < unix.SizeofSockaddrNetlink {
		return 0
	}
	return native.Uint32(r.bytes(address, unix.SizeofSockaddrNetlink)[4:])
}
