package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"uvs/internal/nstest"
)

// A file system that is full keeps the rules from being saved, and the director from
// nothing else. The rules of before stay whole.
func TestRulesThatCannotBeSavedLeaveTheOldOnes(t *testing.T) {
	nstest.Need(t)
	if err := ownNamespace(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	folder := filepath.Join(dir, "small")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	// The mount is the director's own and goes with it.
	cmd := exec.Command("unshare", "-m", "sh", "-ec", `
		mount -t tmpfs -o size=16k none "$0"
		echo '-A -t 192.0.2.1:80 -s rr' >"$0/rules"
		cat /dev/zero >"$0/fills" 2>/dev/null || true
		exec uvs director --socket "$1" --rules "$0/rules"`, folder, socket)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Skip("needs unshare of util-linux: ", err)
	}
	defer cmd.Process.Kill()
	awaitAnswer(t, socket)
	var more strings.Builder
	for i := range 200 {
		fmt.Fprintf(&more, "-A -t 192.0.2.2:%d -s rr\n", 1000+i)
	}
	if _, err := tool(socket, more.String(), "ipvsadm -R"); err != nil {
		t.Fatal(err)
	}
	rules, err := os.Open(fmt.Sprintf("/proc/%d/root%s/rules", cmd.Process.Pid, folder))
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the director ends as if the rules were saved")
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "uvs: save the rules: ") || !strings.Contains(last, "no space left on device") {
		t.Errorf("it said:\n%s", said.String())
	}
	left := make([]byte, 100)
	n, _ := rules.ReadAt(left, 0)
	if string(left[:n]) != "-A -t 192.0.2.1:80 -s rr\n" {
		t.Errorf("the rules of before are now %q", left[:n])
	}
}
