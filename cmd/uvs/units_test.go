package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSystemdAcceptsOurUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze")
	}
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"uvs.service", "ipvsadm.service"} {
		text, err := os.ReadFile(filepath.Join("../../docs/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		// It wants the programs to be there.
		here := strings.NewReplacer("/usr/sbin/uvs", self, "/usr/sbin/ipvsadm -C", self+" -C").Replace(string(text))
		units = append(units, filepath.Join(dir, name))
		if err := os.WriteFile(units[len(units)-1], []byte(here), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	units = append(units, keepalivedUnit(t, dir))
	cmd := exec.Command(analyze, append([]string{"verify", "--man=no"}, units...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), dir) {
		t.Errorf("%v\n%s", err, out)
	}
}

// 30 is a level of 3.0: 0 is a service that can do nothing, 100 one that may do all.
func TestTheUnitIsSandboxed(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze")
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=30", "../../docs/systemd/uvs.service").CombinedOutput()
	if strings.Contains(string(out), "unrecognized option") {
		t.Skip("needs systemd-analyze security of version 250")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// keepalivedUnit makes a unit like Debian's keepalived.service, with our drop-in beside it.
func keepalivedUnit(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/systemd/keepalived.service.d/uvs.conf")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, "keepalived.service")
	for path, text := range map[string]string{
		unit:                 "[Service]\nType=notify\nExecStart=" + self + " --dont-fork $DAEMON_ARGS\n",
		unit + ".d/uvs.conf": strings.ReplaceAll(string(text), "/usr/sbin/uvs", self),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return unit
}
