package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"uvs/internal/nstest"
)

// A process in a user namespace of its own may do nothing to the network here.
func TestADirectorThatMayNotStartSaysWhatIsMissing(t *testing.T) {
	nstest.Need(t)
	cmd := exec.Command("ipvsadm", "-Ln")
	cmd.Env = append(os.Environ(), "UVS_AUTOSTART=1", "UVS_SOCKET=@autostart-of-a-plain-user")
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a director needs CAP_NET_ADMIN and CAP_NET_RAW (be root") {
		t.Errorf("%v: %s", err, out)
	}
}
