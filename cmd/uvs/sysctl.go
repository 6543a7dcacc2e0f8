package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	vs "uvs/forwarder/sysctl"
	"uvs/internal/peer"
	"uvs/internal/sysctl"
)

func sysctlCmd() *cobra.Command {
	var socket string
	var all, quiet, values, asJSON bool
	cmd := &cobra.Command{
		Use:   "sysctl [-a] [NAME[=VALUE]]...",
		Short: "Read and change the director's net.ipv4.vs parameters",
		Long: `Read and change parameters as sysctl(8) does. Those under net.ipv4.vs are the
director's, with the kernel's names and meanings; all others are the kernel's.
Called by the name sysctl, the program leaves a command line without any
parameter of the director to the host's own sysctl, if there is one.`,
		Example: `  uvs sysctl -a
  uvs sysctl net.ipv4.vs.expire_nodest_conn=1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d := directorSettings{cmd.Context(), client.New(socket)}
			switch {
			case all && asJSON:
				return d.listJSON(cmd.OutOrStdout())
			case all:
				return d.list(cmd.OutOrStdout())
			case asJSON:
				return errors.New("--json lists the director's parameters: it goes with -a")
			}
			if len(args) == 0 {
				return errors.New("name a parameter, or list those of the director with -a")
			}
			return sysctl.Run(args, d, quiet, values, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	f.BoolVarP(&all, "all", "a", false, "list the director's parameters, each with its meaning")
	f.BoolVar(&asJSON, "json", false, "with -a: print JSON")
	f.BoolP("write", "w", false, "accepted for sysctl's sake: NAME=VALUE always writes")
	f.BoolVarP(&quiet, "quiet", "q", false, "print nothing for what is set")
	f.BoolVarP(&values, "values", "n", false, "print values without names")
	return cmd
}

// hostSysctl executes the host's own sysctl if no argument is about the director.
func hostSysctl(args []string) {
	if path := sysctl.Host(args[1:]); path != "" {
		_ = unix.Exec(path, args, os.Environ()) // returns only on failure: then this program does the work
	}
}

// directorSettings are a director's parameters through the control API.
type directorSettings struct {
	ctx context.Context
	*client.Client
}

func (d directorSettings) Sysctl(name string) (string, error) {
	all, err := d.Sysctls(d.ctx)
	if err != nil {
		return "", err
	}
	for _, s := range all {
		if s.Name == name {
			return s.Value, nil
		}
	}
	return "", vs.Unknown(name)
}

func (d directorSettings) SetSysctl(name, value string) error {
	return d.Client.SetSysctl(d.ctx, name, value)
}

func (d directorSettings) list(w io.Writer) error {
	all, err := d.Sysctls(d.ctx)
	for _, s := range all {
		fmt.Fprintf(w, "# %s\nnet.ipv4.vs.%s = %s\n", s.Meaning, s.Name, s.Value)
	}
	return err
}

func (d directorSettings) listJSON(w io.Writer) error {
	all, err := d.Sysctls(d.ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(all)
}
