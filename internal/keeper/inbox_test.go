package keeper

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/internal/fdstore"
)

// Descriptors of a plain user could block who closes them.
func TestOtherUsersAreNotHeard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	b, err := openInbox()
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sent := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its user
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534)
		if errno != 0 {
			sent <- errno
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			sent <- err
			return
		}
		defer unix.Close(fd)
		sent <- unix.Sendmsg(fd, []byte("STOPPING=1"), unix.UnixRights(int(w.Fd())), &unix.SockaddrUnix{Name: b.address}, 0)
	}()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Setenv("NOTIFY_SOCKET", b.address)
	s, err := fdstore.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Keep("mine", r) }()
	n := <-b.notices
	defer n.close()
	if n.pid != os.Getpid() || len(n.fds) != 1 || fdstore.ParseMessage(n.text).Name != "mine" {
		t.Errorf("heard is %+v", n)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("the descriptor is open still")
	}
}
