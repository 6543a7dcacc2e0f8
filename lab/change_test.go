package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/lab"
	"uvs/lab/labtest"
)

// sh runs a script in a node.
func sh(t *testing.T, l *lab.Lab, node, script string) string {
	t.Helper()
	return labtest.Exec(t, l, node, "sh", "-ec", script)
}

// flows checks that requests are answered within a few seconds.
func flows(t *testing.T, l *lab.Lab) {
	t.Helper()
	var failed int
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, failed = attempts(l, 4, time.Second); failed == 0 {
			return
		}
	}
	t.Fatalf("%d of 4 requests fail", failed)
}

// rules writes a rules file with the configuration of the topology's director.
func rules(t *testing.T, l *lab.Lab) string {
	t.Helper()
	var b strings.Builder
	for _, c := range l.Topology.Node("director").Setup {
		b.WriteString(strings.Join(c[1:], " ") + "\n")
	}
	path := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// own starts a lab whose director the test starts and ends, not the lab.
func own(t *testing.T, topology string) *lab.Lab {
	t.Helper()
	top := labtest.Build(t, topology, lab.Options{})
	d := top.Node("director")
	d.Services = nil
	setup := d.Setup
	d.Setup = nil
	l := labtest.Start(t, top)
	l.Topology.Node("director").Setup = setup
	return l
}

// direct starts a director that ends with the test.
func direct(t *testing.T, l *lab.Lab, args ...string) *lab.Cmd {
	t.Helper()
	c := l.Command("director", append([]string{"uvs", "director"}, args...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Signal(unix.SIGKILL) })
	return c
}

func TestTrafficAfterTheNetworkChanges(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	labtest.NeedIP(t)
	for _, c := range []struct{ name, script string }{
		{"nothing", "true"},
		{"an interface has another name", "ip link set eth1 down; ip link set eth1 name lan; ip link set lan up"},
		{"an interface has another MTU", "ip link set lan mtu 1400"},
		{"the virtual address has another MAC address", "ip link set eth0 address 02:aa:bb:cc:dd:02"},
		{"the virtual address is no longer the host's", "ip addr del 172.16.253.63/16 dev eth0; ip addr add 172.16.253.62/16 dev eth0"},
		{"the virtual address is the host's again", "ip addr add 172.16.253.63/16 dev eth0"},
		{"the inner address went and came", "ip addr del 192.168.166.130/24 dev lan; ip addr add 192.168.166.130/24 dev lan"},
		{"interfaces went down and up in a hurry", "for i in 1 2 3 4 5; do for n in eth0 lan; do ip link set $n down; ip link set $n up; done; done"},
		{"an interface is promiscuous", "ip link set eth0 promisc on"},
		{"a pair of interfaces came", "ip link add v1 type veth peer name v2; ip link set v1 up; ip link set v2 up"},
		{"one is the port of a bridge", "ip link add br1 type bridge; ip link set br1 up; ip link set v1 master br1"},
		{"the bridge went", "ip link del br1"},
		{"the pair went", "ip link del v1"},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			sh(t, l, "director", c.script)
			flows(t, l)
		}) {
			return
		}
	}
}

func TestDirectorThatStartsWithoutInterfaces(t *testing.T) {
	l := own(t, "nat")
	labtest.NeedIP(t)
	sh(t, l, "director", "ip link set eth0 down; ip link set eth1 down")
	direct(t, l, "--rules", rules(t, l))
	awaitRules(t, l, "Masq")
	sh(t, l, "director", "ip link set eth0 up; ip link set eth1 up")
	flows(t, l)
}

// awaitRules waits until the lab's director lists the wanted rules.
func awaitRules(t *testing.T, l *lab.Lab, want string) {
	t.Helper()
	var out string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if out, _ = l.Exec("director", "ipvsadm", "-Ln"); strings.Contains(out, want) {
			return
		}
	}
	t.Fatalf("the director does not list %q:\n%s", want, out)
}
