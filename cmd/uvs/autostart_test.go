package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
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

// Another user may have bound the director's name; root's director starts all the same, and
// clients find it.
func TestADirectorStartsWhoeverHasItsName(t *testing.T) {
	nstest.Need(t)
	name := fmt.Sprintf("@uvs-test/autostart-%d", os.Getpid())
	squat := nstest.ListenAs(t, 65533, name)
	defer squat.Close()
	cmd := exec.Command("ipvsadm", "-Ln")
	cmd.Env = append(os.Environ(), "UVS_AUTOSTART=1", "UVS_SOCKET="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	about, err := client.New(name).About(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	director, err := os.FindProcess(about.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := director.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "the director ends", func() bool { return director.Signal(syscall.Signal(0)) != nil })
}
