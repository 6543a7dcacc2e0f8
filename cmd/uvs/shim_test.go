package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"uvs/internal/nstest"
)

// TestTheGoClients runs the tests that come with the Go clients of IPVS under the shim. Moby's
// goes to a namespace of its own, where a director is started.
func TestTheGoClients(t *testing.T) {
	nstest.Need(t)
	for _, c := range []struct{ module, skip string }{
		// It needs an interface of the kind dummy, which not every kernel has.
		{"github.com/moby/ipvs", "^TestDestination$"},
		{"github.com/cloudflare/ipvs", "^$"},
	} {
		t.Run(filepath.Base(filepath.Dir(c.module)), func(t *testing.T) {
			tests := filepath.Join(t.TempDir(), "client.test")
			// Only the cache of modules can be reached from a namespace.
			if out, err := goCommand(t, "test", "-c", "-o", tests, c.module).CombinedOutput(); err != nil {
				t.Skipf("needs its modules: go -C cmd/uvs/testdata/clients mod download: %v\n%s", err, out)
			}
			folder, err := goCommand(t, "list", "-m", "-f", "{{.Dir}}", c.module).Output()
			if err != nil {
				t.Fatal(err)
			}
			skip := c.skip
			if hasDummy() {
				skip = "^$"
			}
			cmd := exec.Command("uvs", "shim", "--", tests, "-test.v", "-test.skip", skip)
			cmd.Dir = strings.TrimSpace(string(folder))
			cmd.Env = append(os.Environ(), "UVS_AUTOSTART=1")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// goCommand returns the go command in the module of the clients.
func goCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs go")
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = "testdata/clients"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off", "GOFLAGS=")
	return cmd
}

// hasDummy reports whether the kernel has interfaces of the kind dummy.
func hasDummy() bool {
	if exec.Command("ip", "link", "add", "probe0", "type", "dummy").Run() != nil {
		return false
	}
	return exec.Command("ip", "link", "del", "probe0").Run() == nil
}
