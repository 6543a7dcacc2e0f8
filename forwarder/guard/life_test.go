package guard

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/internal/nstest"
)

func TestWithoutPrivilegeTheReasonIsSaid(t *testing.T) {
	nstest.Need(t)
	answer := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends without its privilege
		var none [2]unix.CapUserData
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
		if err == nil {
			_, err = New(nil, nil)
		}
		answer <- err
	}()
	err := <-answer
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("New answers %v", err)
	}
}

func TestAGuardFollowsLinksThatAreRenamedOrMadeAnew(t *testing.T) {
	client, host, _ := lan(t)
	g := newGuard(t, host)
	r := Rules{Links: []string{"d0", "absent"}, Virtual: []Tuple{tuple(6, "10.0.0.2:80")}}
	set(host, g, r)
	expect(t, client, "10.0.0.2:80", "silent", "the service is guarded")

	host.Link("d0", netlink.LinkSetDown)
	host.Link("d0", func(l netlink.Link) error { return netlink.LinkSetName(l, "new") })
	host.Up("new")
	r.Links = []string{"new"}
	set(host, g, r)
	expect(t, client, "10.0.0.2:80", "silent", "the chain moved to the new name")

	host.Link("new", netlink.LinkDel)
	client.Connect("c0", host, "new")
	client.Addr("c0", "10.0.0.9/24")
	host.Addr("new", "10.0.0.2/24")
	set(host, g, r)
	expect(t, client, "10.0.0.2:80", "silent", "the chain is on the new interface")
	r.Links = nil
	set(host, g, r)
	expect(t, client, "10.0.0.2:80", "refused", "no link is guarded")
}

func TestGuardsOfTwoNamespacesDoNotMeet(t *testing.T) {
	client, host, server := lan(t)
	g, other := newGuard(t, host), newGuard(t, server)
	set(host, g, Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.2:80")}})
	set(server, other, Rules{Links: []string{"s0"}, Virtual: []Tuple{tuple(6, "10.1.0.11:80")}})
	expect(t, client, "10.0.0.2:80", "silent", "the host guards it")
	expect(t, client, "10.0.0.2:81", "refused", "nobody guards it")
	other.Close()
	nstest.Eventually(t, "the server's guard is gone", func() bool { return dial(client, "10.1.0.11:80", aMoment) == "refused" })
	expect(t, client, "10.0.0.2:80", "silent", "the host's guard is not")
}

func TestASecondDirectorInANamespaceIsRefused(t *testing.T) {
	host := nstest.NewNode(t)
	newGuard(t, host)
	if err := host.Try(func() error { _, err := New(nil, nil); return err }); !errors.Is(err, ErrGuarded) {
		t.Errorf("New answers %v, want ErrGuarded", err)
	}
}

func TestThousandsOfTuplesAreSetInOneGo(t *testing.T) {
	client, host, _ := lan(t)
	g := newGuard(t, host)
	r := Rules{Links: []string{"d0"}}
	for i := 1; i < 20000; i++ {
		addr := netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)})
		r.Virtual = append(r.Virtual, Tuple{6, addr, uint16(i)}, Tuple{6, netip.MustParseAddr("10.0.0.2"), uint16(i)})
	}
	began := time.Now()
	set(host, g, r)
	t.Logf("%d tuples: %v", len(r.Virtual), time.Since(began))
	expect(t, client, "10.0.0.2:19999", "silent", "it is in the set")
	began = time.Now()
	r.Virtual = r.Virtual[:len(r.Virtual)-1]
	set(host, g, r)
	t.Logf("one fewer: %v", time.Since(began))
	expect(t, client, "10.0.0.2:19999", "refused", "it was removed")
	expect(t, client, "10.0.0.2:19998", "silent", "it was not")
	set(host, g, Rules{Links: r.Links})
	expect(t, client, "10.0.0.2:19998", "refused", "all were removed")
}

// child guards a service in its parent's namespace until it is killed.
func child() {
	g, err := New(nil, nil)
	if err == nil {
		err = g.Set(Rules{Links: []string{"lo"}, Virtual: []Tuple{tuple(6, "127.0.0.1:80")}})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

func TestTheTableGoesWithAKilledProcess(t *testing.T) {
	nstest.Need(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "UVS_TEST_GUARD_CHILD=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the child says %q", line)
	}
	if n := tables(t); n != 1 {
		t.Fatalf("%d tables while the process lives", n)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	killed := time.Now()
	g, err := New(nil, nil) // as the director that is started again
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the table lived on for %v", time.Since(killed))
	g.Close()
	nstest.Eventually(t, "the table goes when closed", func() bool { return tables(t) == 0 })
}

func tables(t *testing.T) int {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
