package lab_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// Debian's keepalived, unchanged, drives the director of a NAT lab: in a node its name alone
// runs it under a shim. A web server that stops is removed, and back in service when it is
// started again.
func TestKeepalivedDrivesTheDirector(t *testing.T) {
	if _, err := exec.LookPath("keepalived"); err != nil {
		labtest.Skip(t, "needs keepalived")
	}
	dir := t.TempDir()
	topology := labtest.Build(t, "nat", lab.Options{})
	d := topology.Node("director")
	d.Setup = nil // it is keepalived's business
	d.Services = append(d.Services, lab.Service{
		Name: "keepalived",
		Command: lab.Command{"keepalived", "--dont-fork", "--log-console", "--check", "--use-file", keepalivedFile(t, dir, &topology),
			"--pid", filepath.Join(dir, "pid"), "--checkers_pid", filepath.Join(dir, "checkers")},
	})
	l := labtest.Start(t, topology)

	both := listing(1) + "  -> 192.168.166.129:80           Masq    1      0          0         \n"
	awaitServers(t, l, "both at the start", both)
	if err := l.Kill("rs1"); err != nil {
		t.Fatal(err)
	}
	awaitServers(t, l, "rs1 stopped", listing(1))
	if ok, failed := attempts(l, 6, patience); failed != 0 {
		t.Errorf("with rs1 stopped: answers %v, %d failed", ok, failed)
	}
	if err := l.StartServices("rs1"); err != nil {
		t.Fatal(err)
	}
	awaitServers(t, l, "rs1 started again", both)
	if ok, failed := attempts(l, 6, patience); len(ok) != 2 || failed != 0 {
		t.Errorf("with rs1 back: answers %v, %d failed, want both servers'", ok, failed)
	}
}

func keepalivedFile(t *testing.T, dir string, topology *lab.Topology) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "virtual_server %s 80 {\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol TCP\n", topology.VIP)
	for _, server := range topology.RealServers() {
		fmt.Fprintf(&b, " real_server %s 80 {\n  weight 1\n  TCP_CHECK {\n   connect_timeout 1\n   retry 0\n  }\n }\n", server.Address())
	}
	b.WriteString("}\n")
	return write(t, filepath.Join(dir, "keepalived.conf"), b.String())
}
