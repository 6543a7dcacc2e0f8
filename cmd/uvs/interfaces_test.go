package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"uvs/internal/nstest"
)

// A container host has hundreds of interfaces. What a director takes for them
// does not grow with their number times that of its workers.
func TestHundredsOfInterfaces(t *testing.T) {
	host := nstest.NewNode(t)
	host.Do(func() error { return addVeths(0, 300) })
	socket := filepath.Join(t.TempDir(), "socket")
	cmd := exec.Command("uvs", "director", "--workers", "64", "--socket", socket)
	began := time.Now()
	host.Do(cmd.Start)
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	awaitAnswer(t, socket)
	t.Logf("first answer after %v", time.Since(began))
	memory, descriptors := residentMB(t, cmd.Process.Pid), openFiles(t, cmd.Process.Pid)
	t.Logf("%d MB resident, %d descriptors", memory, descriptors)
	if memory > 250 {
		t.Errorf("%d MB resident, want at most 250", memory)
	}
	host.Do(func() error { return addVeths(300, 301) })
	if now := openFiles(t, cmd.Process.Pid); now > descriptors+8 {
		t.Errorf("%d descriptors with one more interface, %d before", now, descriptors)
	}
	began = time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("ended %v after SIGTERM", time.Since(began))
	if used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); used > 3*time.Second {
		t.Errorf("starting and ending took %v of processor time", used)
	}
}

// addVeths adds pairs of interfaces and sets both ends up.
func addVeths(first, end int) error {
	for i := first; i < end; i++ {
		name, peer := fmt.Sprintf("v%d", i), fmt.Sprintf("p%d", i)
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
			return err
		}
		for _, name := range []string{name, peer} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// residentMB returns a process's resident memory, its rings included.
func residentMB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "VmRSS:")
	kilobytes := 0
	if _, err := fmt.Sscan(after, &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes / 1000
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
