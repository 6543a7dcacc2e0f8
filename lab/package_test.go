package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
)

// debian is a Debian system of its own, unpacked in the director's node.
type debian struct {
	t    *testing.T
	l    *lab.Lab
	root string
}

// newDebian unpacks root.tar. Services may be started in it.
func newDebian(t *testing.T, l *lab.Lab, tar string) *debian {
	t.Helper()
	d := &debian{t, l, t.TempDir()}
	for _, argv := range [][]string{
		{"mount", "-t", "tmpfs", "-o", "mode=755,size=512M", "root", d.root},
		{"tar", "-C", d.root, "--no-same-owner", "--exclude=./dev/*", "-xf", tar},
		{"mount", "-t", "proc", "proc", d.root + "/proc"},
		{"mount", "--rbind", "/dev", d.root + "/dev"},
		{"mount", "-t", "tmpfs", "run", d.root + "/run"},
		{"sh", "-c", `printf '#!/bin/sh\nexit 0\n' >"$0" && chmod +x "$0"`, d.root + "/usr/sbin/policy-rc.d"},
		{"mkdir", d.root + "/debs"},
	} {
		labtest.Exec(t, l, "director", argv...)
	}
	return d
}

// run runs a command in it and returns what it prints.
func (d *debian) run(argv ...string) string {
	d.t.Helper()
	in := []string{"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "chroot", d.root}
	out := labtest.Exec(d.t, d.l, "director", append(in, argv...)...)
	return strings.TrimSpace(out)
}

// install installs packages, files of this machine.
func (d *debian) install(debs ...string) {
	d.t.Helper()
	argv := []string{"dpkg", "-i"}
	for _, deb := range debs {
		labtest.Exec(d.t, d.l, "director", "cp", deb, d.root+"/debs")
		argv = append(argv, "/debs/"+filepath.Base(deb))
	}
	d.t.Log(d.run(argv...))
}

// tool checks which program /sbin/ipvsadm is, which ldirectord calls.
func (d *debian) tool(want string) {
	d.t.Helper()
	if got := d.run("readlink", "-f", "/sbin/ipvsadm"); got != want {
		d.t.Errorf("/sbin/ipvsadm is %s, want %s", got, want)
	}
}

const (
	ours    = "/usr/sbin/uvs"
	kernels = "/usr/sbin/ipvsadm.kernel"
)

// TestThePackageIsInstalledUpgradedUnderLoadAndRemoved needs a folder with root.tar, a Debian
// system; old.deb and new.deb; and ipvsadm with its libraries in other/. The script
// .ci/deb makes it.
func TestThePackageIsInstalledUpgradedUnderLoadAndRemoved(t *testing.T) {
	from := os.Getenv("UVS_PACKAGES")
	if from == "" {
		t.Skip("needs packages and a Debian system in UVS_PACKAGES: .ci/deb makes them")
	}
	newDeb := filepath.Join(from, "new.deb")
	others, err := filepath.Glob(filepath.Join(from, "other/*.deb"))
	if err != nil || len(others) == 0 {
		t.Fatalf("%v in other/, %v", others, err)
	}
	l := labtest.Start(t, labtest.Build(t, "nat", numberedLab))
	addUDP(t, l)
	rules := labtest.Exec(t, l, "director", "ipvsadm", "-Sn")
	if err := l.Kill("director"); err != nil {
		t.Fatal(err)
	}
	d := newDebian(t, l, filepath.Join(from, "root.tar"))

	d.install(filepath.Join(from, "old.deb"))
	d.tool(ours)
	d.run("sh", "-c", `printf %s "$0" | ipvsadm-restore`, rules)
	if got := d.run("/sbin/ipvsadm", "-Sn"); got != strings.TrimSpace(rules) {
		t.Errorf("rules\n%s\nwant\n%s", got, rules)
	}

	load := startLoad(t, l, 20)
	numbered := startNumbered(t, l)
	before := d.run("cat", "/run/uvs.pid")
	d.install(newDeb)
	load.await(1)
	numbered.end()
	numbered.judge(0, 0)
	load.end()
	if now := d.run("cat", "/run/uvs.pid"); now == before {
		t.Errorf("process %s was not replaced", now)
	}
	if changed := d.run("dpkg", "--verify", "uvs"); changed != "" {
		t.Errorf("dpkg --verify: %s", changed)
	}

	d.choose(others, rules)
	d.remove(newDeb, rules)
	if t.Failed() {
		report(t, l)
	}
}

// choose checks that the kernel's tool moves aside when it comes, and is there by choice.
func (d *debian) choose(others []string, rules string) {
	d.t.Helper()
	d.install(others...)
	d.tool(ours)
	d.run("update-alternatives", "--set", "ipvsadm", kernels)
	d.tool(kernels)
	if got := d.run("uvs", "shim", "--", "/sbin/ipvsadm", "-Sn"); got != strings.TrimSpace(rules) {
		d.t.Errorf("the kernel's tool says\n%s\nwant\n%s", got, rules)
	}
	d.run("update-alternatives", "--auto", "ipvsadm")
	d.tool(ours)
}

// remove checks what a removal leaves, that the tool a host had first stays its choice, and that
// a purge leaves nothing.
func (d *debian) remove(deb, rules string) {
	d.t.Helper()
	d.run("dpkg", "-r", "uvs")
	d.tool("/usr/sbin/ipvsadm")
	if left := d.run("sh", "-c", "dpkg --verify ipvsadm; dpkg-divert --list '*ipvsadm*'; ls /etc/alternatives | grep ipvsadm || true"); left != "" {
		d.t.Errorf("a removal leaves %s", left)
	}
	nstest.Eventually(d.t, "nobody serves", func() bool { _, err := d.l.Exec("director", "ipvsadm", "-Ln"); return err != nil })

	d.install(deb)
	d.tool(kernels)
	if got := d.run("/usr/lib/uvs/ipvsadm", "-Sn"); got != strings.TrimSpace(rules) {
		d.t.Errorf("after it was removed and installed the rules are\n%s\nwant\n%s", got, rules)
	}
	d.run("dpkg", "-r", "ipvsadm")
	d.tool(ours)
	d.run("dpkg", "-P", "uvs")
	left := d.run("sh", "-c", "ls -d /sbin/ipvsadm* /etc/*/uvs /var/lib/uvs /run/uvs* /var/log/uvs* /usr/lib/uvs /usr/share/doc/uvs 2>/dev/null || true")
	if left != "" {
		d.t.Errorf("a purge leaves %s", left)
	}
}
