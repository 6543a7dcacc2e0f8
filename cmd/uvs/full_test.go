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

	"uvs/forwarder/client"
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

// Memory that is full keeps changes from outliving a kill, which is told once, and nothing
// else from going on. When there is room again all is kept.
func TestAFullTmpfsUnderTheStateIsToldAndMadeGood(t *testing.T) {
	nstest.Need(t)
	if err := ownNamespace(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket, folder := filepath.Join(dir, "socket"), filepath.Join(dir, "small")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	// Each line that the shell reads starts a director, when the one before has ended.
	shell := exec.Command("unshare", "-m", "sh", "-ec", `
		mount -t tmpfs -o size=64m none "$0"; echo
		while read line; do uvs director --socket "$1" --conns 100000 --state "$0/state" || true; done`, folder, socket)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	shell.Stderr = log
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	lines, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Skip("needs unshare of util-linux: ", err)
	}
	defer shell.Wait()
	defer lines.Close()
	if n, _ := ready.Read(make([]byte, 1)); n != 1 {
		t.Skip("cannot mount a tmpfs")
	}
	inside := fmt.Sprintf("/proc/%d/root%s", shell.Process.Pid, folder)
	kill := func() {
		if about, err := client.New(socket).About(t.Context()); err == nil {
			_ = syscall.Kill(about.PID, syscall.SIGKILL)
		}
	}
	defer kill()
	start := func() {
		fmt.Fprintln(lines)
		awaitAnswer(t, socket)
	}
	start()
	fill, err := os.Create(inside + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 1<<20))
	}
	fill.Close()
	var rules strings.Builder
	for i := range 300 {
		fmt.Fprintf(&rules, "-A -t 192.0.2.2:%d -s rr\n", 1000+i)
	}
	for _, rules := range []string{rules.String(), "-A -t 192.0.2.3:80 -s rr\n"} {
		if out, err := tool(socket, rules, "ipvsadm -R"); err != nil {
			t.Errorf("while there is no room: %v\n%s", err, out)
		}
	}
	if err := os.Remove(inside + "/fill"); err != nil {
		t.Fatal(err)
	}
	if _, err := tool(socket, "-A -t 192.0.2.4:80 -s rr\n", "ipvsadm -R"); err != nil {
		t.Error(err)
	}
	kill()
	if n := strings.Count(said(), "no space left on device"); n != 1 {
		t.Errorf("it says %d times that there is no room, want once:\n%s", n, said())
	}
	start()
	out, err := tool(socket, "", "ipvsadm -Ln")
	if n := strings.Count(out, "\nTCP "); n != 302 {
		t.Errorf("%d of 302 services outlived the kill, %v\n%s", n, err, said())
	}
}
