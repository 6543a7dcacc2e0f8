package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/internal/peer"
)

// stranger is a user ID that nobody has.
const stranger = 65533

// asStranger runs f as another user. Only root can.
func asStranger(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be two users")
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its user
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), stranger, ^uintptr(0))
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Skipf("cannot become another user: %v", errno)
	}
}

// serveThere serves on l until the test ends.
func serveThere(t *testing.T, l *Listener) {
	s := NewServer(controltest.New(), config.About{Program: "uvs", PID: os.Getpid()}, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRootIsFoundWhoeverHasItsName(t *testing.T) {
	name := fmt.Sprintf("@uvs-test/taken-%d", os.Getpid())
	t.Cleanup(func() { os.Remove(filepath.Dir(peer.Second(name))) }) // unless there is more in it
	var squat net.Listener
	asStranger(t, func() {
		var err error
		if squat, err = net.Listen("unix", name); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	if _, err := client.New(name).About(ctx); !errors.Is(err, client.ErrNotTrusted) || !strings.Contains(err.Error(), fmt.Sprintf("user %d, process %d", stranger, os.Getpid())) {
		t.Errorf("before root's director runs: %v", err)
	}
	l, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	if l.Missing != name || l.Holder.UID != stranger || l.Holder.PID != os.Getpid() || l.Addr().String() != peer.Second(name) {
		t.Errorf("listens on %s, %q is missing and held by %v", l.Addr(), l.Missing, l.Holder)
	}
	serveThere(t, l)
	about, err := client.New(name).About(ctx)
	if err != nil || about.PID != os.Getpid() {
		t.Errorf("while another has the name: %+v, %v", about, err)
	}
	if _, err := Listen(name); !errors.Is(err, ErrInUse) {
		t.Errorf("a second director: %v, want %v", err, ErrInUse)
	}
	squat.Close()
	awaitHolder(t, name, os.Geteuid())
	if about, err = client.New(name).About(ctx); err != nil || about.PID != os.Getpid() {
		t.Errorf("when the name is free: %+v, %v", about, err)
	}
}

// awaitHolder waits until a user listens under a name.
func awaitHolder(t *testing.T, name string, uid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if who, err := holderOf(name); err == nil && who.UID == uid {
			return
		}
	}
	t.Fatalf("user %d does not get the name %s back", uid, name)
}

// TestANameThatAnotherHas uses a binder that does not trust this process's user.
func TestANameThatAnotherHas(t *testing.T) {
	for _, c := range []struct{ name, accepts string }{
		{"and answers", "all"},
		{"and keeps silent", "none"},
		{"and whose queue is full", "full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("@uvs-test/another-%d", os.Getpid())
			squatted(t, name, c.accepts)
			d := binder{func(int) bool { return false }, func(string) string { return "" }}
			_, err := d.open(name)
			if !errors.Is(err, ErrTaken) || c.accepts != "full" && !strings.Contains(err.Error(), fmt.Sprintf("user %d, process %d", os.Getuid(), os.Getpid())) {
				t.Errorf("without a second name: %v", err)
			}
			second := filepath.Join(t.TempDir(), "run", "second")
			d.second = func(string) string { return second }
			l, err := d.open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if l.Addr().String() != second || l.Missing != name {
				t.Errorf("listens on %s, missing %q", l.Addr(), l.Missing)
			}
		})
	}
}

func squatted(t *testing.T, name, accepts string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "squatter")
	t.Cleanup(func() { f.Close() })
	backlog := 16
	if accepts == "full" {
		backlog = 0
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: name}), unix.Listen(fd, backlog)); err != nil {
		t.Fatal(err)
	}
	switch accepts {
	case "all":
		l, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go answer(l)
	case "full":
		for {
			c, err := (&net.Dialer{}).DialContext(context.Background(), "unix", name)
			if err != nil {
				break
			}
			t.Cleanup(func() { c.Close() })
		}
	}
}
