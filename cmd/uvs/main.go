// Uvs is a userspace virtual server: a Linux Virtual Server director, the tool that
// administers it, and a lab and a benchmark harness around it, in one binary. Every verb has
// a file of its own here, with its flags; its work is done by a package.
//
// Called by another name, for example through a symlink, the binary is the tool of that
// name.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/shim"
	"uvs/lab"
)

// toolVerbs are the other tools that the binary can replace, with the verb for each.
var toolVerbs = map[string]string{
	"curl":   "get",
	"ping":   "ping",
	"sysctl": "sysctl",
}

func main() {
	lab.Main()
	shim.Main(shimDirector)
	name := filepath.Base(os.Args[0])
	if _, ok := ipvsadmTools[name]; ok {
		os.Exit(runIpvsadm(context.Background(), name, os.Args[0], "", os.Args[1:]))
	}
	if _, ok := driven[name]; ok {
		os.Exit(runDriven(name))
	}
	if _, tool := toolVerbs[name]; !tool && len(os.Args) == 1 {
		fmt.Print(firstScreen)
		return
	}
	root := rootCmd()
	if name == "sysctl" {
		hostSysctl(os.Args)
	}
	if verb, ok := toolVerbs[name]; ok {
		root.SetArgs(append([]string{verb}, os.Args[1:]...))
	}
	if cmd, err := root.ExecuteC(); err != nil {
		for line := range strings.Lines(errorText(cmd, err)) {
			fmt.Fprintln(os.Stderr, "uvs:", strings.TrimSuffix(line, "\n"))
		}
		if _, ok := errors.AsType[usageError](err); ok {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// usageError is an error in the words of a command for which its exit status is 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

// errorText returns the text of an error, with what to do about it if the error does not say
// so itself.
func errorText(cmd *cobra.Command, err error) string {
	text := withoutStrconv(err.Error())
	switch {
	case errors.Is(err, client.ErrNoDirector):
		return text + "; start one in this network namespace with: uvs director"
	case strings.HasPrefix(text, "accepts "), strings.HasPrefix(text, "requires "): // cobra's text about the number of arguments
		return strings.TrimPrefix(cmd.CommandPath(), "uvs ") + ": " + argumentCount(text) + "; usage: " + strings.TrimSuffix(cmd.UseLine(), " [flags]")
	case strings.HasPrefix(text, "unknown command ") && !cmd.HasSubCommands(): // cobra's text about an argument of a command that takes none
		_, rest, _ := strings.Cut(text, `"`)
		word, _, _ := strings.Cut(rest, `"`)
		return fmt.Sprintf("%s takes no argument such as %q; see: %s --help", strings.TrimPrefix(cmd.CommandPath(), "uvs "), word, cmd.CommandPath())
	case strings.HasPrefix(text, "unknown command "): // with cobra's suggestions on lines of their own
		return strings.Replace(strings.Join(strings.Fields(text), " "), " Did you mean this? ", "; did you mean: ", 1) +
			"; see: " + cmd.CommandPath() + " --help"
	}
	return text
}

// arguments matches cobra's text about the number of arguments.
var arguments = regexp.MustCompile(`^accepts (at most )?(\d+) arg\(s\), received (\d+)$`)

// argumentCount rewrites cobra's text about the number of arguments.
func argumentCount(text string) string {
	part := arguments.FindStringSubmatch(text)
	switch {
	case part == nil:
		return text
	case part[3] == "0":
		return "an argument is missing"
	}
	return part[3] + " arguments are too many"
}

// parsing matches package strconv's errors.
var parsing = regexp.MustCompile(`strconv\.(\w+): parsing ("(?:[^"\\]|\\.)*"): (?:invalid syntax|(value out of range))`)

// withoutStrconv rewrites strconv's errors about the values of flags.
func withoutStrconv(text string) string {
	return parsing.ReplaceAllStringFunc(text, func(found string) string {
		part := parsing.FindStringSubmatch(found)
		switch {
		case part[1] == "ParseBool":
			return part[2] + " is neither true nor false"
		case part[3] != "":
			return part[2] + " is too large or too small"
		}
		return part[2] + " is not a number"
	})
}

// group adds commands to a command that does nothing itself. Cobra would print its help for
// any argument.
func group(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(below...)
	return cmd
}

func rootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "uvs",
		Short:         "A Linux Virtual Server director in user space",
		SilenceUsage:  true, // an error is one line, not the help text
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(
		directorCmd(),
		benchCmd(),
		checkCmd(),
		ipvsadmCmd(),
		linkCmd(),
		applyCmd(),
		procCmd(),
		servicesCmd(),
		versionCmd(),
		statsCmd(),
		topCmd(),
		eventsCmd(),
		labCmd(),
		learnCmd(),
		schedCmd(),
		httpCmd(),
		getCmd(),
		pingCmd(),
		markCmd(),
		policyCmd(),
		synproxyCmd(),
		vipCmd(),
		aliveCmd(),
		traceCmd(),
		explainCmd(),
		doctorCmd(),
		dropsCmd(),
		webCmd(),
		sysctlCmd(),
		decapCmd(),
		shimCmd(),
		manualCmd(),
	)
	complete(root)
	return root
}
