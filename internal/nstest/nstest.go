// Package nstest runs a test binary inside a network namespace of its own, so that tests
// with real interfaces need no root and do not change the machine, and cleans up after the
// tests.
//
// A package whose tests need it has
//
//	func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }
//
// and its tests call Need, or Veth, which calls it. Run starts the test binary again: for
// root in a new network namespace, for a plain user also in a new user namespace, where it
// has CAP_NET_ADMIN and CAP_NET_RAW. If the kernel refuses, the tests that Need a namespace
// are skipped with the reason, or fail if the environment has UVS_REQUIRE_NETNS=1, as in
// continuous integration.
package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	process = "UVS_TEST_PROCESS"  // which process this is, if not the first: "supervisor", "tests"
	require = "UVS_REQUIRE_NETNS" // skipping is a failure
)

// errRefused says why there is no namespace; nil if we are in one.
var errRefused = errors.New("TestMain does not call nstest.Run")

// Run runs the tests of m in a new namespace and returns the exit status. Like Supervise it
// leaves nothing behind.
func Run(m *testing.M) int {
	code, _ := runStage(m, command(), func() error {
		privateRun()
		return loopbackUp()
	})
	return code
}

// privateRun gives the tests a /run of their own, so that directors there leave nothing
// behind. Where that is not allowed they have the machine's.
func privateRun() {
	if unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") == nil {
		_ = unix.Mount("uvs-test", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
	}
}

// Inside reports whether this is the process that runs the tests.
func Inside() bool { return os.Getenv(process) == "tests" }

// command returns the command that runs this process again, in new namespaces.
func command() *exec.Cmd {
	cmd := reexec("tests")
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return cmd
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// Need skips the test unless it runs in a namespace made by Run.
func Need(tb testing.TB) {
	tb.Helper()
	if errRefused == nil {
		return
	}
	if os.Getenv(require) == "1" {
		tb.Fatalf("needs a network namespace: %v", errRefused)
	}
	tb.Skipf("needs a network namespace: %v", errRefused)
}

// Veth makes a pair of connected Ethernet interfaces, up, without addresses,
// and removes them when the test ends.
func Veth(tb testing.TB, a, b string) {
	tb.Helper()
	Need(tb)
	la := netlink.NewLinkAttrs()
	la.Name = a
	pair := &netlink.Veth{LinkAttrs: la, PeerName: b}
	if err := netlink.LinkAdd(pair); err != nil {
		tb.Fatalf("add veth pair %s, %s: %v", a, b, err)
	}
	tb.Cleanup(func() { _ = netlink.LinkDel(pair) })
	for _, name := range []string{a, b} {
		Up(tb, name)
	}
	for _, name := range []string{a, b} {
		if err := awaitRunning(name); err != nil {
			tb.Fatal(err)
		}
	}
}

// awaitRunning waits until the kernel's link watch has given the interface its queue;
// frames sent before that are silently lost.
func awaitRunning(name string) error {
	return await(name+" to come up", func() (bool, error) {
		link, err := netlink.LinkByName(name)
		return err == nil && link.Attrs().OperState == netlink.OperUp, err
	})
}

// await waits, at most a minute, until done reports true.
func await(what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if ok, err := done(); ok || err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // the kernel does not run on a test's clock
	}
	return fmt.Errorf("nstest: waited in vain for %s", what)
}

// Up sets an interface up, without an IPv6 address: neighbour discovery would send frames
// that a test does not expect.
func Up(tb testing.TB, name string) {
	tb.Helper()
	// Without IPv6 it does not exist. If it is read-only, a test sees extra frames.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644)
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		tb.Fatalf("set %s up: %v", name, err)
	}
}
