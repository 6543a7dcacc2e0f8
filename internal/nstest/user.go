package nstest

import (
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// ListenAs listens on a unix socket as another user. It skips the test where this
// one may not become another.
func ListenAs(tb testing.TB, uid uintptr, address string) (l net.Listener) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root, to be two users")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its user
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0))
		if errno != 0 {
			done <- errno
			return
		}
		var err error
		l, err = net.Listen("unix", address)
		done <- err
	}()
	if err := <-done; err != nil {
		tb.Skipf("cannot listen as another user: %v", err)
	}
	return l
}
