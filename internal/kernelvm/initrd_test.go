package kernelvm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The archive is unpacked by cpio(1), or by busybox's.
func TestCPIOReadsTheArchive(t *testing.T) {
	program := []string{"cpio"}
	if _, err := exec.LookPath("cpio"); err != nil {
		program = []string{"busybox", "cpio"}
	}
	if _, err := exec.LookPath(program[0]); err != nil {
		t.Skip("needs cpio or busybox")
	}
	var a archive
	a.add("bin", directory, nil)
	a.add("bin/program", executable, []byte("#!/bin/sh\n"))
	a.add("five.", plain, []byte("12345"))
	a.add("empty", plain, nil)
	dir := t.TempDir()
	cmd := exec.Command(program[0], append(program[1:], "-i", "-d")...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(a.end())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]struct {
		mode    os.FileMode
		content string
	}{
		"bin/program": {0o755, "#!/bin/sh\n"},
		"five.":       {0o644, "12345"},
		"empty":       {0o644, ""},
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(b) != want.content {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want.mode {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestModulesAreLoadedAfterThoseTheyNeed(t *testing.T) {
	k := kernel{modules: t.TempDir()}
	dep := `kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko
kernel/net/9p/9pnet.ko:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko
kernel/fs/netfs/netfs.ko:
`
	if err := os.WriteFile(filepath.Join(k.modules, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := k.load("9pnet_virtio", "9p", "built_in")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"kernel/net/9p/9pnet.ko", "kernel/net/9p/9pnet_virtio.ko.xz", "kernel/fs/netfs/netfs.ko", "kernel/fs/9p/9p.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestTheShellReadsTheJobAsItWasGiven(t *testing.T) {
	program := []string{"printf", `a "b" $c`, "it's", "", "two\nlines"}
	job, err := VM{Out: "/tmp/it's, out"}.job(kernel{modules: "/cache/lib/modules/6.1"}, program)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := os.Getwd()
	cmd := exec.Command("sh", "-c", string(job)+`printf '%s|' "$modules" "$dir" "$out" "$@"`)
	out, err := cmd.CombinedOutput()
	want := strings.Join(append([]string{"/cache/lib/modules", dir, "/tmp/it's, out"}, program...), "|") + "|"
	if err != nil || string(out) != want {
		t.Errorf("the shell has %q, %v\nwant %q", out, err, want)
	}
}
