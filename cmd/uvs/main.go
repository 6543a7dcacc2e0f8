// Uvs is a userspace virtual server: a Linux Virtual Server director, the tool
// that administers it, and a lab and a benchmark harness around it, in one
// binary. Every verb has a file of its own here; what it does is in a package.
//
// Called by another name, as by a symlink, the binary is the tool of that
// name.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"uvs/lab"
)

// names are the tools the binary stands in for, as the verb each of them is.
var names = map[string]string{
	"curl":   "get",
	"ping":   "ping",
	"sysctl": "sysctl",
}

func main() {
	lab.Main()
	name := filepath.Base(os.Args[0])
	if _, ok := ipvsadmTools[name]; ok {
		os.Exit(runIpvsadm(context.Background(), name, os.Args[0], "", os.Args[1:]))
	}
	root := rootCmd()
	if name == "sysctl" {
		hostSysctl(os.Args)
	}
	if verb, ok := names[name]; ok {
		root.SetArgs(append([]string{verb}, os.Args[1:]...))
	}
	if err := root.Execute(); err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(os.Stderr, "uvs:", strings.TrimSuffix(line, "\n"))
		}
		os.Exit(1)
	}
}

func rootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "uvs",
		Short:         "A Linux Virtual Server director in user space",
		SilenceUsage:  true, // an error is one line, not the help text
		SilenceErrors: true,
	}
	root.AddCommand(
		directorCmd(),
		benchCmd(),
		ipvsadmCmd(),
		linkCmd(),
		applyCmd(),
		procCmd(),
		statsCmd(),
		labCmd(),
		schedCmd(),
		httpCmd(),
		getCmd(),
		pingCmd(),
		markCmd(),
		policyCmd(),
		traceCmd(),
		explainCmd(),
		sysctlCmd(),
		decapCmd(),
	)
	return root
}
