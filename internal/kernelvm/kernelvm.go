// Package kernelvm runs programs on a real kernel with IPVS. It boots one of Debian's kernels
// in a virtual machine and runs a program there as root. The program sees this machine's
// files; its changes to them are gone with the VM. No privilege is needed: the VM is a qemu
// process that emulates the processor (TCG) and reads files as the user who starts it.
//
// The VM has no network except the Devices it is given. The caller has the other end of a
// device from Wire, frame by frame, so a test can be the live peer of the real IPVS.
package kernelvm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// VM says what to boot. The zero value is a VM of one processor with Linux 6.1
// and without network devices.
type VM struct {
	Kernel  string    // version, "6.1" or "6.12"; empty means 6.1
	Memory  int       // MiB; 0 means 1024
	CPUs    int       // 0 means 1
	Devices []Device  // eth0, eth1 and so on, in this order
	Out     string    // an existing directory here, which is writable as $OUT there; may be empty
	Output  io.Writer // gets what the program writes; nil discards it
	Console io.Writer // gets the kernel's messages when the VM has ended; may be nil
}

// ExitError is the error of a program that ended in the VM with a status other than 0.
type ExitError struct{ Status int }

func (e *ExitError) Error() string {
	return fmt.Sprintf("kernelvm: the program ended with status %d", e.Status)
}

// Run boots the VM, runs a program with its arguments there, in this process's working
// directory, and waits for its end. The kernel is fetched on first use. If the program ends
// with a status other than 0, the error is an *ExitError. When ctx ends, or this process is
// killed, the VM ends at once and leaves only what the program has written to Out.
func (vm VM) Run(ctx context.Context, program ...string) error {
	for _, d := range vm.Devices {
		if d.File != nil {
			defer d.File.Close()
		}
	}
	if err := missing(needs); err != nil {
		return err
	}
	k, err := findKernel(ctx, cmp.Or(vm.Kernel, "6.1"))
	if err != nil {
		return err
	}
	if vm.Out != "" {
		if vm.Out, err = filepath.Abs(vm.Out); err != nil {
			return fmt.Errorf("kernelvm: %w", err)
		}
	}
	image, err := vm.initrd(k, program)
	if err != nil {
		return err
	}
	initrd, err := memoryFile("initrd", image)
	if err != nil {
		return err
	}
	defer initrd.Close()
	console, err := memoryFile("console", nil)
	if err != nil {
		return err
	}
	defer console.Close()
	return vm.boot(ctx, k, initrd, console)
}

// boot runs qemu until the VM powers itself off.
func (vm VM) boot(ctx context.Context, k kernel, initrd, console *os.File) error {
	// Pdeathsig watches the thread that started the process, not the whole process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", vm.arguments(k)...)
	cmd.Stdout, cmd.Stderr = vm.Output, &complaints
	cmd.ExtraFiles = []*os.File{initrd, console}
	for _, d := range vm.Devices {
		cmd.ExtraFiles = append(cmd.ExtraFiles, d.File)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended := cmd.Run()
	messages, err := io.ReadAll(io.NewSectionReader(console, 0, 1<<30))
	if err == nil && vm.Console != nil {
		_, err = vm.Console.Write(messages)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("kernelvm: the VM was ended before its program: %w", context.Cause(ctx))
	}
	return errors.Join(err, ending(messages, ended, complaints.String()))
}

var statusLine = regexp.MustCompile(`kernelvm: exit status (\d+)`)

// ending reads from the kernel's messages how the program ended.
func ending(messages []byte, ended error, complaints string) error {
	m := statusLine.FindSubmatch(messages)
	if m == nil {
		return fmt.Errorf("kernelvm: the VM ended without word of its program (%w); qemu says:\n%s\nthe last lines of its console:\n%s",
			cmp.Or(ended, errors.New("powered off")), strings.TrimSpace(complaints), tail(string(messages), 20))
	}
	if status, _ := strconv.Atoi(string(m[1])); status != 0 {
		return &ExitError{status}
	}
	return nil
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\r\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// memoryFile returns a file without a name, which is gone when it is closed here and in the
// process that inherited it.
func memoryFile(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("kernelvm-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("kernelvm: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, fmt.Errorf("kernelvm: keep the %s: %w", name, err)
	}
	return f, nil
}
