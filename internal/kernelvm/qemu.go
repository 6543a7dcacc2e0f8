package kernelvm

import (
	"cmp"
	"strconv"
	"strings"
)

// The files that qemu inherits, by descriptor.
const (
	initrdFD = 3 + iota
	consoleFD
	firstDeviceFD
)

// arguments returns the command line of qemu (man qemu-system-x86_64). The program's output
// is on the first serial port and the kernel's console on the second, so they do not mix.
func (vm VM) arguments(k kernel) []string {
	kernelLine := "console=ttyS1 panic=-1 mitigations=off tsc=reliable nokaslr random.trust_cpu=on"
	if vm.Console == nil {
		kernelLine += " quiet loglevel=1"
	}
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max",
		"-m", strconv.Itoa(cmp.Or(vm.Memory, 1024)), "-smp", strconv.Itoa(cmp.Or(vm.CPUs, 1)),
		"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
		"-kernel", k.image, "-initrd", descriptor(initrdFD), "-append", kernelLine,
		"-serial", "stdio", "-serial", "file:" + descriptor(consoleFD),
	}
	args = append(args, share("host", "/", ",readonly=on,multidevs=remap")...)
	if vm.Out != "" {
		args = append(args, share("out", vm.Out, "")...)
	}
	for i, d := range vm.Devices {
		args = append(args, d.arguments(i, firstDeviceFD+i)...)
	}
	return args
}

func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// share makes a directory available to the VM, by the 9p protocol. In values of qemu's
// options a comma is written twice.
func share(tag, dir, options string) []string {
	return []string{
		"-fsdev", "local,id=" + tag + ",path=" + strings.ReplaceAll(dir, ",", ",,") + ",security_model=none" + options,
		"-device", "virtio-9p-pci,fsdev=" + tag + ",mount_tag=" + tag,
	}
}
