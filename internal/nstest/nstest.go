// Package nstest runs a test binary inside a network namespace of its own, so
// that tests with real interfaces neither need root nor touch the machine, and
// sees to it that the tests leave nothing behind.
//
// A package whose tests need it has
//
//	func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }
//
// and its tests call Need, or Veth, which calls it. Run starts the test binary
// again: for root in a new network namespace, for a plain user in a new user
// namespace as well, where it has CAP_NET_ADMIN and CAP_NET_RAW. Where the
// kernel refuses, the tests that Need a namespace are skipped and say why, or
// fail if the environment has UVS_REQUIRE_NETNS=1, as in continuous
// integration.
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
)

const (
	process = "UVS_TEST_PROCESS"  // which one this is, if not the first: "supervisor", "tests"
	require = "UVS_REQUIRE_NETNS" // skipping is a failure
)

// errRefused is why there is no namespace, nil if we are in one.
var errRefused = errors.New("TestMain does not call nstest.Run")

// Run runs the tests of m in a new namespace and returns the exit status. It
// leaves nothing behind, as Supervise.
func Run(m *testing.M) int {
	code, _ := runStage(m, command(), loopbackUp)
	return code
}

// Inside reports whether this is the process that runs the tests.
func Inside() bool { return os.Getenv(process) == "tests" }

// command is this process again, in new namespaces.
func command() *exec.Cmd {
	cmd := reexec("tests")
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
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

// awaitRunning waits until the kernel's link watch has given the interface its
// queue; frames sent before are lost without a word.
func awaitRunning(name string) error {
	return await(name+" to come up", func() (bool, error) {
		link, err := netlink.LinkByName(name)
		return err == nil && link.Attrs().OperState == netlink.OperUp, err
	})
}

// await waits, a minute at most, until the kernel has done its part.
func await(what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if ok, err := done(); ok || err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // the kernel's time, not ours to fake
	}
	return fmt.Errorf("nstest: waited in vain for %s", what)
}

// Up sets an interface up, with no IPv6 address of its own: neighbour discovery
// would be frames that a test did not send.
func Up(tb testing.TB, name string) {
	tb.Helper()
	// Not there without IPv6, or read-only: then a test sees a frame more.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644)
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		tb.Fatalf("set %s up: %v", name, err)
	}
}
