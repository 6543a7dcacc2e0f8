package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/shim"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "shim" {
		runtime.LockOSThread() // shim.Exec is to be called on the first thread
	}
}

func shimCmd() *cobra.Command {
	var files bool
	cmd := &cobra.Command{
		Use:   "shim [--proc=false] -- PROGRAM [ARGUMENT]...",
		Short: "Run a program made for the kernel's IPVS, such as keepalived",
		Long: `Run PROGRAM, which administers the kernel's IPVS, unchanged: what it and the
programs it starts ask of IPVS by netlink is answered by the director of their
network namespace. PROGRAM takes the place of this process, so signals, its
process ID and its exit status are its own. 126 and 127 say that it could not be
run or was not found.

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
		Run: func(_ *cobra.Command, args []string) { os.Exit(runShim(args, files)) },
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVar(&files, "proc", true, "answer for /proc/net/ip_vs and its kin")
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
