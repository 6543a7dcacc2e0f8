package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces are those that every lab has of its own.
const namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

// startSupervisor starts the calling program again as a supervisor. Its standard streams
// are /dev/null: a detached lab must not keep its starter's pipes open.
func startSupervisor(name string, control, listener *os.File) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"uvs-lab", name}
	cmd.Env = append(os.Environ(), envSupervisor+"=1")
	cmd.ExtraFiles = []*os.File{control, listener}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	if !privileged() {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return nil, explainDenied(fmt.Errorf("lab: new namespaces: %w", plainError(err)))
	}
	return cmd, nil
}

// plainError removes "fork/exec /proc/self/exe" from an error: that is not what failed.
func plainError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// privileged reports whether the process may make namespaces without a user namespace,
// and administer networks in them.
func privileged() bool {
	var hdr unix.CapUserHeader
	var data [2]unix.CapUserData
	hdr.Version = unix.LINUX_CAPABILITY_VERSION_3
	if os.Geteuid() != 0 || unix.Capget(&hdr, &data[0]) != nil {
		return false
	}
	const want = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	return data[0].Effective&want == want
}

// explainDenied adds to an error why the machine does not let this user build a lab, and
// what would change that. The error itself is EPERM, EACCES or ENOSPC, none of which
// says so (user_namespaces(7)).
func explainDenied(err error) error {
	if privileged() {
		return err
	}
	for _, c := range []struct{ file, bad, why string }{
		{"/proc/sys/user/max_user_namespaces", "0",
			"user namespaces are off; root can allow them with: sysctl -w user.max_user_namespaces=10000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0",
			"user namespaces are for root only here; root can change it with: sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
			"AppArmor restricts user namespaces; root can lift it with: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		b, readErr := os.ReadFile(c.file)
		if readErr == nil && strings.TrimSpace(string(b)) == c.bad {
			return fmt.Errorf("%w: %s", err, c.why)
		}
	}
	if seccompFiltered() {
		return fmt.Errorf("%w: a seccomp filter is on this process, as container runtimes set it; "+
			"run the container with --cap-add SYS_ADMIN or --security-opt seccomp=unconfined (docs/container.md)", err)
	}
	return err
}

// seccompFiltered reports whether the process has a seccomp filter (proc_pid_status(5)).
func seccompFiltered() bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			mode, _ := strconv.Atoi(strings.TrimSpace(v))
			return mode == 2
		}
	}
	return false
}
