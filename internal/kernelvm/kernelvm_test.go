package kernelvm

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestTheNewestKernelOfAVersionIsTaken(t *testing.T) {
	names := strings.Fields(`linux-image-6.1.0-9-amd64 linux-image-6.1.0-56-amd64 linux-image-6.1.0-57-cloud-amd64
		linux-image-6.1.0-57-rt-amd64 linux-image-6.1.0-57-amd64-unsigned linux-image-6.1.0-57-amd64-dbg linux-image-6.1.0-57-arm64
		linux-image-6.12.9+deb12-amd64 linux-image-6.12.117+deb12-amd64 linux-image-6.12.118+deb12-rt-amd64 linux-image-6.12-amd64`)
	for version, want := range map[string]string{
		"6.1":  "linux-image-6.1.0-56-amd64",
		"6.12": "linux-image-6.12.117+deb12-amd64",
		"7.0":  "",
	} {
		if got := newest(names, version); got != want {
			t.Errorf("newest of %s is %q, want %q", version, got, want)
		}
	}
}

func TestWhatIsMissingIsNamedWithItsPackage(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("for amd64 only")
	}
	err := missing([]need{{"sh", "dash"}, {"no-such-qemu", "qemu-system-x86"}, {"no-such-box", "busybox-static"}})
	want := "kernelvm: no no-such-qemu, no no-such-box here: apt-get install qemu-system-x86 busybox-static"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := missing([]need{{"sh", "dash"}}); err != nil {
		t.Errorf("with all there: %v", err)
	}
}

func TestArgumentsOfQEMU(t *testing.T) {
	k := kernel{image: "/cache/boot/vmlinuz-6.1"}
	for _, c := range []struct {
		name string
		vm   VM
		want []string
	}{
		{"by default", VM{}, []string{
			"-m 1024 -smp 1", "-accel tcg", "-kernel /cache/boot/vmlinuz-6.1 -initrd /proc/self/fd/3", "quiet loglevel=1",
			"-serial stdio -serial file:/proc/self/fd/4", "path=/,security_model=none,readonly=on"}},
		{"larger, with a place for output", VM{Memory: 2048, CPUs: 2, Out: "/tmp/a,b"}, []string{
			"-m 2048 -smp 2", "local,id=out,path=/tmp/a,,b,security_model=none -device virtio-9p-pci,fsdev=out,mount_tag=out"}},
		{"with devices", VM{Devices: []Device{{Netdev: "dgram,local.type=fd,local.str={fd}"}, {Netdev: "tap,fd={fd}"}}}, []string{
			"local.str=5,id=net0", "tap,fd=6,id=net1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(c.vm.arguments(k), " ")
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in %s", want, got)
				}
			}
		})
	}
}

func TestTheConsoleTellsHowTheProgramEnded(t *testing.T) {
	var exit *ExitError
	if err := ending([]byte("[    9.1] kernelvm: exit status 0\r\n"), nil, ""); err != nil {
		t.Errorf("status 0: %v", err)
	}
	if err := ending([]byte("[    9.1] kernelvm: exit status 37\r\n"), nil, ""); !errors.As(err, &exit) || exit.Status != 37 {
		t.Errorf("status 37: %v", err)
	}
	err := ending([]byte("first\nkernelvm: no overlay\n"), errors.New("exit status 1"), "qemu: no such machine\n")
	want := "kernelvm: the VM ended without word of its program (exit status 1); qemu says:\nqemu: no such machine\nthe last lines of its console:\nfirst\nkernelvm: no overlay"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
