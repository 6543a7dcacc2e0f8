package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"uvs/forwarder/client"
	"uvs/internal/ipvsadm"
)

// ipvsadmTools are the names of ipvsadm and its scripts, each with what it does.
var ipvsadmTools = map[string]func(t *ipvsadm.Tool, ctx context.Context, args []string) int{
	"ipvsadm":         (*ipvsadm.Tool).Run,
	"ipvsadm-save":    (*ipvsadm.Tool).Save,
	"ipvsadm-restore": (*ipvsadm.Tool).Restore,
}

func ipvsadmCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "ipvsadm [--socket ADDRESS] [ARGUMENT]...",
		Short: "Administer the director: ipvsadm 1.31, word for word",
		Long: `Administer the director of this network namespace with the words of ipvsadm 1.31.
--socket, before all other words, names another control socket, as UVS_SOCKET
does. With UVS_AUTOSTART=1 a director is started in the background if none
answers.`,
		DisableFlagParsing: true,
		Run: func(cmd *cobra.Command, args []string) {
			socket, args := leadingSocket(args)
			os.Exit(runIpvsadm(cmd.Context(), "ipvsadm", "ipvsadm", socket, args))
		},
	}
}

// withWords returns the RunE of a command whose arguments are in ipvsadm's words: parse
// reads them, and run carries them out.
func withWords[C any](parse func([]string, ipvsadm.Names) (C, error),
	run func(context.Context, *client.Client, C, io.Writer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		socket, args := leadingSocket(args)
		c, err := parse(args, ipvsadm.NewSystemNames())
		if errors.Is(err, pflag.ErrHelp) {
			return cmd.Help()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", cmd.Name(), err)
		}
		return run(cmd.Context(), newClient(socket), c, cmd.OutOrStdout())
	}
}

// leadingSocket splits --socket and its value from the arguments, if they come first.
func leadingSocket(args []string) (socket string, rest []string) {
	if len(args) == 0 {
		return "", args
	}
	if value, ok := strings.CutPrefix(args[0], "--socket="); ok {
		return value, args[1:]
	}
	if args[0] == "--socket" && len(args) > 1 {
		return args[1], args[2:]
	}
	return "", args
}

// runIpvsadm runs the tool called name, which messages call program, and returns its exit
// status.
func runIpvsadm(ctx context.Context, name, program, socket string, args []string) int {
	t := &ipvsadm.Tool{
		Program:  program,
		Director: newClient(socket),
		Names:    ipvsadm.NewSystemNames(),
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
	}
	return ipvsadmTools[name](t, ctx, args)
}

// newClient returns a client. With UVS_AUTOSTART=1 it starts a director if none answers.
func newClient(socket string) *client.Client {
	if os.Getenv("UVS_AUTOSTART") != "1" {
		return client.New(socket)
	}
	return client.New(socket, client.WithStart(startDirector))
}
