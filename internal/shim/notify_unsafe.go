package shim

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is a system call that waits for its answer (linux/seccomp.h, struct
// seccomp_notif).
type notification struct {
	id     uint64
	pid    uint32 // of the thread, as this process counts; 0 if it does not see it
	flags  uint32
	number int32
	arch   uint32
	at     uint64
	args   [6]uint64
}

// response is an answer (struct seccomp_notif_resp).
type response struct {
	id    uint64
	value int64
	errno int32 // negative
	flags uint32
}

// addition gives a descriptor to the caller (struct seccomp_notif_addfd).
type addition struct {
	id    uint64
	flags uint32
	from  uint32
	to    uint32
	open  uint32 // O_CLOEXEC or 0
}

// setFilter calls seccomp(2) with SECCOMP_SET_MODE_FILTER and returns the listener.
func setFilter(filter []unix.SockFilter, flags uintptr) (int, error) {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// ioctl calls ioctl(2), again if a signal interrupted it: the calls of a listener wait for its
// lock, and fail with EINTR for the signals of Go's scheduler too.
func ioctl(fd int, request uintptr, p unsafe.Pointer) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(p))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// receive waits for the next call.
func receive(listener int) (n notification, err error) {
	_, err = ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
	return n, err
}

func respond(listener int, r response) error {
	_, err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	return err
}

// addFD gives the caller a descriptor and answers its call with it. These are two steps: if a
// signal interrupts the kernel's one, SECCOMP_ADDFD_FLAG_SEND, the call is answered with 0 and
// there is no descriptor (kernel/seccomp.c, seccomp_notify_addfd).
func addFD(listener int, a addition) error {
	fd, err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
	if err != nil {
		return err
	}
	return respond(listener, response{id: a.id, value: int64(fd)})
}

// setFlags sets how calls are handed over. The flags are the argument itself.
func setFlags(listener int, flags uintptr) error {
	return unix.IoctlSetInt(listener, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, int(flags))
}

// waits reports whether a call still waits. If so, what was read under its process ID was of
// its process.
func waits(listener int, id uint64) bool {
	_, err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id))
	return err == nil
}

// readMemory reads from the memory of another process (process_vm_readv(2)).
func readMemory(pid int, address uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if err == nil && n != len(b) {
		err = unix.EFAULT
	}
	return err
}

// writeMemory writes to the memory of another process (process_vm_writev(2)).
func writeMemory(pid int, address uint64, b []byte) error {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}
	n, err := unix.ProcessVMWritev(pid, local, remote, 0)
	if err == nil && n != len(b) {
		err = unix.EFAULT
	}
	return err
}
