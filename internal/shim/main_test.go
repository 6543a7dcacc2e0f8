package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/internal/ipvsnl"
	"uvs/internal/nstest"
)

// role makes this test binary another program: "shim" becomes the command in its arguments
// under a shim, "runner" runs commands from its standard input.
const (
	role     = "UVS_TEST_ROLE"
	nextRole = "UVS_TEST_NEXT_ROLE"
	files    = "UVS_TEST_FILES" // IPVS's files are there
)

func init() {
	if os.Getenv(role) == "shim" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	Main(func(in func(func() error) error) Director { return client.New("", client.Within(in)) })
	is := os.Getenv(role)
	os.Setenv(role, os.Getenv(nextRole)) // of this binary under the shim
	os.Unsetenv(nextRole)
	switch is {
	case "shim":
		path, err := exec.LookPath(os.Args[1])
		if err == nil {
			err = Exec(path, os.Args[1:], os.Environ(), os.Getenv(files) != "")
		}
		fmt.Fprintln(os.Stderr, "uvs:", err)
		os.Exit(126)
	case "families":
		families()
		os.Exit(0)
	case "option":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err == nil {
			_, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, firstOption+1) // IP_VS_SO_GET_INFO
		}
		_, other := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL)
		fmt.Printf("%v, %v\n", err, other)
		os.Exit(0)
	case "unprivileged":
		unprivileged()
		os.Exit(0)
	case "shimmed":
		fmt.Println(shimmed())
		os.Exit(0)
	case "runner":
		run(os.Stdin, os.Stdout)
		os.Exit(0)
	}
	os.Exit(nstest.Run(m))
}

// shimmedCommand returns a command that runs a program under a shim.
func shimmedCommand(argv ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", argv...)
	cmd.Env = append(os.Environ(), role+"=shim")
	return cmd
}

// families prints the generic netlink families, as a library finds them that believes nobody
// but the kernel: in a list, and two by name.
func families() {
	all, err := netlink.GenlFamilyList()
	fmt.Println("list:", err)
	for _, f := range all {
		fmt.Println(f.Name, f.Version, len(f.Ops))
	}
	for _, name := range []string{"nlctrl", ipvsnl.Name} {
		f, err := netlink.GenlFamilyGet(name)
		if err != nil {
			fmt.Println("get:", name, err)
			continue
		}
		fmt.Println("get:", f.Name)
	}
}

// unprivileged prints whether it gets a socket of the shim and may send on it, then the same
// without CAP_NET_ADMIN.
func unprivileged() {
	runtime.LockOSThread()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	fmt.Println(shimmed(), err, unix.Sendto(fd, question(unix.NLM_F_REQUEST), 0, to))
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	err = unix.Capset(&header, &none[0])
	fmt.Println(shimmed(), err, unix.Sendto(fd, question(unix.NLM_F_REQUEST), 0, to))
}

// order is a command for a runner, outcome how it ended.
type order struct {
	Argv  []string
	Stdin string
}

type outcome struct {
	Stdout, Stderr string
	Status         int
}

// run is the runner.
func run(in io.Reader, out io.Writer) {
	orders, outcomes := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			return
		}
		if err := outcomes.Encode(o.run()); err != nil {
			return
		}
	}
}

func (o order) run() (got outcome) {
	var stdout, stderr strings.Builder
	cmd := exec.Command("/usr/sbin/"+o.Argv[0], o.Argv[1:]...)
	cmd.Args[0] = o.Argv[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(o.Stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got.Status = exit.ExitCode()
	} else if err != nil {
		got.Status = -2
		stderr.WriteString(err.Error())
	}
	got.Stdout, got.Stderr = stdout.String(), stderr.String()
	return got
}

// runner runs commands under one shim.
type runner struct {
	tb       testing.TB
	orders   *json.Encoder
	outcomes *json.Decoder
}

// startRunner starts a runner under a shim. If files are to be replaced by others, /etc/hosts
// and so on, it is in a mount namespace of its own, and IPVS's files in /proc are there too.
func startRunner(tb testing.TB, others map[string]string) *runner {
	tb.Helper()
	nstest.Need(tb)
	script := "set -e; "
	for there, here := range others {
		script += fmt.Sprintf("mount --bind %s %s; ", here, there)
	}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(self, self)
	cmd.Env = append(os.Environ(), role+"=shim", nextRole+"=runner")
	if others != nil {
		cmd.Args = append([]string{"unshare", "-m", "sh", "-c", script + `exec "$0" "$0"`}, self)
		cmd.Path, err = exec.LookPath("unshare")
		cmd.Env = append(cmd.Env, files+"=1")
	}
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("runner: %v", err)
		}
	})
	return &runner{tb, json.NewEncoder(in), json.NewDecoder(out)}
}

func (r *runner) run(stdin string, argv ...string) (got outcome) {
	r.tb.Helper()
	if err := r.orders.Encode(order{argv, stdin}); err != nil {
		r.tb.Fatal(err)
	}
	if err := r.outcomes.Decode(&got); err != nil {
		r.tb.Fatal(err)
	}
	return got
}
