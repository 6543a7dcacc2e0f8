package shim

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownProcess reports whether a thread's effective user is the given one.
func ownProcess(thread uint32, user int) bool {
	fd, err := unix.Open("/proc/"+strconv.Itoa(int(thread))+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var text [512]byte // the line is among the first ten
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return false
	}
	_, rest, found := bytes.Cut(text[:n], []byte("\nUid:\t"))
	_, rest, more := bytes.Cut(rest, []byte("\t")) // the real one comes first
	effective, _, whole := bytes.Cut(rest, []byte("\t"))
	return found && more && whole && string(effective) == strconv.Itoa(user)
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
