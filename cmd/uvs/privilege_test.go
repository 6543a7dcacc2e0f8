package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/internal/nstest"
	"uvs/internal/privilege"
)

// threads returns the named lines of /proc/PID/task/*/status, once each.
func threads(t *testing.T, pid int, names ...string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d threads, %v", len(files), err)
	}
	all := map[string]map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if all[name] == nil {
				all[name] = map[string]bool{}
			}
			all[name][strings.TrimSpace(value)] = true
		}
	}
	found := map[string][]string{}
	for _, name := range names {
		for value := range all[name] {
			found[name] = append(found[name], value)
		}
	}
	return found
}

func TestADirectorKeepsTwoCapabilitiesInAllThreads(t *testing.T) {
	nstest.Need(t)
	if err := ownNamespace(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket, rules := filepath.Join(dir, "socket"), filepath.Join(dir, "rules")
	cmd := exec.Command("uvs", "director", "--socket", socket, "--rules", rules)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	awaitAnswer(t, socket)
	nstest.Veth(t, "near", "far") // it opens what it needs for an interface that comes later
	if _, err := tool(socket, "", "ipvsadm -A -t 192.0.2.1:80 -s rr"); err != nil {
		t.Error(err)
	}
	const none = "0000000000000000"
	two := fmt.Sprintf("%016x", uint64(privilege.Director))
	for name, want := range map[string]string{"CapPrm": two, "CapEff": two, "CapBnd": two, "CapInh": none, "CapAmb": none, "NoNewPrivs": "1"} {
		if got := threads(t, cmd.Process.Pid, name)[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s of its threads is %v, want %s", name, got, want)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if saved, err := os.ReadFile(rules); !strings.Contains(string(saved), "192.0.2.1") {
		t.Errorf("the rules saved are %q, %v", saved, err)
	}
}

// As a service of a plain user, AmbientCapabilities= in its unit.
func TestADirectorOfAPlainUserKeepsItsTwoCapabilities(t *testing.T) {
	nstest.Need(t)
	if err := ownNamespace(); err != nil {
		t.Fatal(err)
	}
	socket := "@" + filepath.Join(t.TempDir(), "socket")
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"uvs", "director", "--socket", socket}, Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 12345, Gid: 12345},
			AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
		},
	}
	if err := cmd.Start(); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		t.Skip("needs a second user: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	nstest.Eventually(t, "it works", func() bool {
		names, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", cmd.Process.Pid))
		return err == nil && strings.Contains(string(names), socket)
	})
	two := fmt.Sprintf("%016x", uint64(privilege.Director))
	for name, want := range map[string]string{"CapPrm": two, "CapEff": two, "CapAmb": two, "NoNewPrivs": "1"} {
		if got := threads(t, cmd.Process.Pid, name)[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s of its threads is %v, want %s", name, got, want)
		}
	}
}

func TestRulesOfAnotherUserCanStillBeSaved(t *testing.T) {
	nstest.Need(t)
	if err := ownNamespace(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	folder := filepath.Join(dir, "theirs")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(folder, 12345, -1); err != nil {
		t.Skip("needs a second user: ", err)
	}
	socket, rules := filepath.Join(dir, "socket"), filepath.Join(folder, "rules")
	cmd := exec.Command("uvs", "director", "--socket", socket, "--rules", rules)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	awaitAnswer(t, socket)
	want := privilege.Director.With(unix.CAP_DAC_OVERRIDE).With(unix.CAP_FOWNER)
	if got := threads(t, cmd.Process.Pid, "CapEff")["CapEff"]; len(got) != 1 || got[0] != fmt.Sprintf("%016x", uint64(want)) {
		t.Errorf("it keeps %v, want %016x", got, uint64(want))
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(rules); err != nil {
		t.Error(err)
	}
}
