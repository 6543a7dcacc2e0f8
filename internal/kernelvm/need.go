package kernelvm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Need skips a test unless the environment has UVS_KERNEL_VM=1, since a VM is slow and the
// first one downloads a kernel. If it is set, a missing program is a failure.
func Need(tb testing.TB) {
	tb.Helper()
	if os.Getenv("UVS_KERNEL_VM") != "1" {
		tb.Skip("asks a real kernel in a virtual machine, which takes a minute or so: set UVS_KERNEL_VM=1 to have it done")
	}
	if err := missing(needs); err != nil {
		tb.Fatal(err)
	}
}

// need is a program that this package runs, and its Debian package.
type need struct{ program, packageName string }

var needs = []need{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"busybox", "busybox-static"},
	{"depmod", "kmod"},
}

// missing returns an error that names the missing programs and their Debian packages, nil if
// none is missing.
func missing(needs []need) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("kernelvm: the VM runs this machine's programs on an amd64 kernel, and this machine is %s", runtime.GOARCH)
	}
	var programs, packages []string
	for _, n := range needs {
		if _, err := find(n.program); err != nil {
			programs, packages = append(programs, n.program), append(packages, n.packageName)
		}
	}
	if programs == nil {
		return nil
	}
	return fmt.Errorf("kernelvm: no %s here: apt-get install %s", strings.Join(programs, ", no "), strings.Join(packages, " "))
}

// find looks for a program in PATH and in the directories of root's programs, which a plain
// user may not have in PATH.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("kernelvm: no program %s", program)
}
