package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/shim"
)

// driven are programs made for the kernel's IPVS, with Debian's package of each. Called by such
// a name, as in a lab, the binary runs the next program of that name in PATH under a shim.
var driven = map[string]string{"keepalived": "keepalived", "ldirectord": "ldirectord"}

func init() {
	_, name := driven[filepath.Base(os.Args[0])]
	if name || len(os.Args) > 1 && os.Args[1] == "shim" {
		runtime.LockOSThread() // shim.Exec is to be called on the first thread
	}
}

func shimCmd() *cobra.Command {
	var files bool
	cmd := &cobra.Command{
		Use:   "shim [--proc] -- PROGRAM [ARGUMENT]...",
		Short: "Run a program made for the kernel's IPVS, such as keepalived",
		Long: `Run PROGRAM, which administers the kernel's IPVS, unchanged: what it and the
programs it starts ask of IPVS by netlink is answered by the director of their
network namespace. PROGRAM takes the place of this process, so signals, its
process ID and its exit status are its own. 126 and 127 say that it could not be
run or was not found.

With --proc, which is the default for ipvsadm, /proc/net/ip_vs, ip_vs_conn and
their kin are there for PROGRAM as well. Then each file that it opens takes some
microseconds more, and none can be opened if the shim's supervisor is killed.

UVS_SOCKET names another control socket. With UVS_AUTOSTART=1 a director is
started in the background where none answers.`,
		Example: `  uvs shim -- keepalived --dont-fork --log-console
  uvs shim -- /usr/sbin/ipvsadm -Ln`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name a program: uvs shim -- PROGRAM")
			}
			return nil
		},
		Run: func(cmd *cobra.Command, args []string) {
			if !cmd.Flags().Changed("proc") {
				files = filepath.Base(args[0]) == "ipvsadm"
			}
			os.Exit(runShim(args, files))
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVar(&files, "proc", false, "answer for /proc/net/ip_vs and its kin (default for ipvsadm)")
	return cmd
}

// runShim becomes a program. It returns the exit status if that fails. With files, IPVS's files
// in /proc/net are there for it.
func runShim(argv []string, files bool) int {
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = shim.Exec(path, argv, os.Environ(), files)
	}
	fmt.Fprintln(os.Stderr, "uvs:", err)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return 127
	}
	return 126
}

// shimDirector returns the director of programs in a network namespace, which in enters.
func shimDirector(in func(func() error) error) shim.Director {
	if os.Getenv("UVS_AUTOSTART") != "1" {
		return client.New("", client.Within(in))
	}
	start := func(ctx context.Context, socket string) error {
		return startDirectorFor(ctx, client.New(socket, client.Within(in)))
	}
	return client.New("", client.Within(in), client.WithStart(start))
}

// runDriven becomes the program whose name the binary has. It returns the exit status if that
// fails.
func runDriven(name string) int {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := exec.LookPath(filepath.Join(dir, name))
		if err != nil || isSelf(path) {
			continue
		}
		fmt.Fprintln(os.Stderr, "uvs:", shim.Exec(path, os.Args, os.Environ(), false))
		return 126
	}
	fmt.Fprintf(os.Stderr, "uvs: %s is not installed; on Debian: apt install %s\n", name, driven[name])
	return 127
}

// isSelf reports whether a path leads to this binary.
func isSelf(path string) bool {
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	here, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(there, here)
}
