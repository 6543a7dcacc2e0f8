package kernelvm

import (
	"bytes"
	"debug/elf"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed init.sh
var initScript []byte

// initrd returns the VM's initial root file system: busybox, the modules that mounting this
// machine's files needs, the script init.sh, and its job.
func (vm VM) initrd(k kernel, program []string) ([]byte, error) {
	busybox, err := staticBusybox()
	if err != nil {
		return nil, err
	}
	job, err := vm.job(k, program)
	if err != nil {
		return nil, err
	}
	var a archive
	for _, dir := range []string{"bin", "sbin", "proc", "dev", "modules", "host", "new"} {
		a.add(dir, directory, nil)
	}
	a.add("bin/busybox", executable, busybox)
	a.add("init", executable, initScript)
	a.add("sbin/modprobe", executable, []byte(modprobe))
	a.add("job", plain, job)
	if err := a.addModules(k, "virtio_pci", "virtio_net", "9pnet_virtio", "9p", "overlay"); err != nil {
		return nil, err
	}
	return a.end(), nil
}

// addModules appends modules with their dependencies, and a list of them in the order in
// which they must be loaded.
func (a *archive) addModules(k kernel, names ...string) error {
	files, err := k.load(names...)
	if err != nil {
		return err
	}
	var order strings.Builder
	for _, file := range files {
		b, err := decompressed(filepath.Join(k.modules, file))
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".xz")
		a.add("modules/"+name, plain, b)
		fmt.Fprintln(&order, name)
	}
	a.add("modules/order", plain, []byte(order.String()))
	return nil
}

// The kernel looks for modprobe in the initial root; the real one and its modules are in the
// program's root.
const modprobe = "#!/bin/busybox sh\nexec /bin/busybox chroot /new/root /sbin/modprobe \"$@\"\n"

// job is a shell script with the parameters of init.sh: the directories of the modules, of
// the program and of its output, and the program with its arguments.
func (vm VM) job(k kernel, program []string) ([]byte, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("kernelvm: working directory: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "modules=%s\ndir=%s\nout=%s\nset --", quote(filepath.Dir(k.modules)), quote(dir), quote(vm.Out))
	for _, word := range program {
		b.WriteString(" " + quote(word))
	}
	b.WriteString("\n")
	return b.Bytes(), nil
}

// quote quotes a word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// staticBusybox reads a statically linked busybox, since the initial root has no libraries.
func staticBusybox() ([]byte, error) {
	path, err := find("busybox")
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("kernelvm: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("kernelvm: %s: %w", path, err)
	}
	for _, segment := range f.Progs {
		if segment.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("kernelvm: %s needs libraries: apt-get install busybox-static", path)
		}
	}
	return b, nil
}

// load returns the files of the named modules and of their dependencies, in the order of
// loading. modules.dep has a line for each module with all its dependencies, the first to
// load last (man modules.dep). A module that is not in it is built into the kernel.
func (k kernel) load(names ...string) (order []string, err error) {
	dep, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("kernelvm: %w", err)
	}
	for _, name := range names {
		for line := range strings.Lines(string(dep)) {
			file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
			if base, _, _ := strings.Cut(filepath.Base(file), ".ko"); base != name {
				continue
			}
			chain := strings.Fields(needs)
			slices.Reverse(chain)
			for _, f := range append(chain, file) {
				if !slices.Contains(order, f) {
					order = append(order, f)
				}
			}
		}
	}
	return order, nil
}

// decompressed reads a module. Debian compresses them from 6.12 on.
func decompressed(path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		return os.ReadFile(path)
	}
	if err := missing([]need{{"xz", "xz-utils"}}); err != nil {
		return nil, err
	}
	b, err := exec.Command("xz", "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("kernelvm: xz -dc %s: %w", path, err)
	}
	return b, nil
}
