package shim

import (
	"os"
	"testing"

	"uvs/internal/nstest"
)

// TestRightsAreNotLent runs programs of the supervisor's user that lack its capability: one that has given
// it up, and one that has it in a user namespace of its own only.
func TestRightsAreNotLent(t *testing.T) {
	nstest.Need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, role string
		argv       []string
		want       string
	}{
		{"the capability given up", "unprivileged", []string{self}, "true <nil> <nil>\nfalse <nil> operation not permitted\n"},
		{"the same user namespace", "shimmed", []string{self}, "true\n"},
		{"another user namespace", "shimmed", []string{"unshare", "-U", "-r", self}, "false\n"},
	} {
		cmd := shimmedCommand(c.argv...)
		cmd.Env = append(cmd.Env, nextRole+"="+c.role)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("%s: %v, %q, want %q", c.name, err, out, c.want)
		}
	}
}
