package shim

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Programs may look who sent a datagram, and believe only the kernel: port 0, which no
// process can have. So the supervisor reads for the program what is there, and writes that
// address if it has sent it itself. Of others the program learns the true port. A program
// that has to wait is left to the kernel, where signals reach it: whatever answers a message
// is there before its send returns.

// incoming says where a program wants a datagram.
type incoming struct {
	flags   int
	pieces  []piece
	name    uint64 // where the sender's address goes; 0: nowhere
	room    uint32 // bytes there are for it
	size    uint64 // where its length goes
	control piece
	header  uint64 // struct msghdr of recvmsg(2); 0 for recvfrom(2)
}

// Offsets in struct msghdr (socket(7)), which is the same on 64-bit architectures.
const (
	offNameLen    = 8
	offVector     = 16
	offCount      = 24
	offControl    = 32
	offControlLen = 40
	offFlags      = 48
	sizeofHeader  = 56
)

// read carries out recvfrom(2) or recvmsg(2) on a descriptor of the range.
func (s *supervisor) read(n notification) {
	k := s.socketOf(n)
	if k == nil {
		s.goOn(n)
		return
	}
	in, err := readIncoming(n)
	if err != nil || in.name == 0 || !waits(s.listener, n.id) {
		s.goOn(n)
		return
	}
	fd, err := takeFD(n)
	if err != nil {
		s.goOn(n) // not permitted: the address is the supervisor's then
		return
	}
	defer unix.Close(fd)
	more := k.more()
	size, found, err := in.receive(int(n.pid), fd, s.port)
	for more && !found && errors.Is(err, unix.EAGAIN) && waits(s.listener, n.id) {
		awaitDatagram(fd)
		more = k.more()
		size, found, err = in.receive(int(n.pid), fd, s.port)
	}
	switch {
	case !found:
		s.goOn(n) // the program waits, or the kernel says what is wrong
		return
	case err != nil:
		s.fail(n, err)
		return
	}
	_ = respond(s.listener, response{id: n.id, value: int64(size)})
}

// readIncoming reads the arguments of a call.
func readIncoming(n notification) (incoming, error) {
	r := reader{pid: int(n.pid)}
	if n.number == unix.SYS_RECVFROM {
		in := incoming{flags: int(n.args[3]), pieces: []piece{{n.args[1], n.args[2]}}, name: n.args[4], size: n.args[5]}
		if in.name != 0 {
			in.room = native.Uint32(r.bytes(in.size, 4))
		}
		return in, r.err
	}
	header := r.bytes(n.args[1], sizeofHeader)
	in := incoming{
		flags: int(n.args[2]), header: n.args[1],
		name: native.Uint64(header), room: native.Uint32(header[offNameLen:]), size: n.args[1] + offNameLen,
		control: piece{native.Uint64(header[offControl:]), native.Uint64(header[offControlLen:])},
	}
	in.pieces = r.vector(native.Uint64(header[offVector:]), native.Uint64(header[offCount:]))
	return in, r.err
}

// receive reads a datagram, if one is there, and writes it to the memory of a process. It
// returns what the call returns.
func (in *incoming) receive(pid, fd int, supervisor uint32) (size int, found bool, err error) {
	room := uint64(0)
	for _, p := range in.pieces {
		room += min(p.size, maxMessage)
	}
	data := make([]byte, min(room, maxMessage))
	control := make([]byte, min(in.control.size, 1<<10))
	size, controlSize, flags, from, err := unix.Recvmsg(fd, data, control, in.flags|unix.MSG_DONTWAIT)
	if err != nil {
		return 0, false, err
	}
	name := senderName(from, supervisor)
	w := writer{pid: pid}
	w.scatter(in.pieces, data[:min(size, len(data))])
	w.bytes(in.name, name[:min(len(name), int(in.room))])
	w.bytes(in.size, native.AppendUint32(nil, uint32(len(name))))
	if in.header != 0 {
		w.bytes(in.control.base, control[:controlSize])
		w.bytes(in.header+offControlLen, native.AppendUint64(nil, uint64(controlSize)))
		w.bytes(in.header+offFlags, native.AppendUint32(nil, uint32(flags)))
	}
	return size, true, w.err
}

// senderName returns the address of a datagram's sender as the program is to see it.
func senderName(from unix.Sockaddr, supervisor uint32) []byte {
	name := make([]byte, unix.SizeofSockaddrNetlink)
	native.PutUint16(name, unix.AF_NETLINK)
	if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid != supervisor {
		native.PutUint32(name[4:], a.Pid)
		native.PutUint32(name[8:], a.Groups)
	}
	return name
}

// takeFD returns a copy of the descriptor that a call is about.
func takeFD(n notification) (int, error) {
	pidfd, err := unix.PidfdOpen(int(n.pid), 0)
	if err != nil { // not the first thread of its process
		leader, found := leaderOf(n.pid)
		if found != nil {
			return -1, found
		}
		if pidfd, err = unix.PidfdOpen(leader, 0); err != nil {
			return -1, err
		}
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, int(int32(n.args[0])), 0)
}

// leaderOf returns the process of a thread.
func leaderOf(thread uint32) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "\nTgid:\t")
	number, _, _ := strings.Cut(rest, "\n")
	return strconv.Atoi(number)
}

// writer writes to a program's memory. After an error it writes nothing more.
type writer struct {
	pid int
	err error
}

func (w *writer) bytes(address uint64, b []byte) {
	if w.err == nil && len(b) > 0 {
		w.err = writeMemory(w.pid, address, b)
	}
}

// scatter writes data to one piece after the other.
func (w *writer) scatter(pieces []piece, data []byte) {
	for _, p := range pieces {
		n := min(p.size, uint64(len(data)))
		w.bytes(p.base, data[:n])
		data = data[n:]
	}
}
