package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"uvs/lab"
)

func labDownCmd() *cobra.Command {
	var all bool
	var name *string
	cmd := &cobra.Command{
		Use:   "down [LAB]",
		Short: "Take a lab down",
		Long: `Takes a lab down. Without a name it takes the newest one that was started from
this terminal (or by this script); if there is none it asks, or, where nobody can
be asked, lists those there are and takes none. In a node it takes the node's own.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				return downAll(cmd)
			}
			if len(args) == 1 {
				*name = args[0]
			}
			l, err := labToClose(cmd, *name)
			if err != nil {
				return err
			}
			return down(cmd, l)
		},
	}
	name = labFlag(cmd)
	cmd.Flags().Lookup("lab").Usage = "the lab `NAME`"
	cmd.ValidArgsFunction = completeLabs
	cmd.Flags().BoolVar(&all, "all", false, "take all of your labs down")
	return cmd
}

func downAll(cmd *cobra.Command) error {
	infos, err := lab.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, in := range infos {
		l, err := lab.Attach(in.Name)
		if err == nil {
			err = down(cmd, l)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func down(cmd *cobra.Command, l *lab.Lab) error {
	if err := l.Close(); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "lab %s is down\n", l.Name)
	return nil
}

// labToClose returns the lab to take down: the named one, in a node its own, otherwise the
// newest from this terminal, otherwise one that the user confirms.
func labToClose(cmd *cobra.Command, name string) (*lab.Lab, error) {
	if name != "" || lab.Inside() {
		return lab.Attach(name)
	}
	newest, err := lab.Attach("")
	if err != nil {
		return nil, err
	}
	infos, err := lab.List()
	if err != nil {
		return nil, err
	}
	here, from := "", lab.CurrentSession()
	var list []string
	for _, in := range infos {
		if in.Topology.ByName { // of a measurement, which takes it down
			continue
		}
		if in.Session.Same(from) {
			here = in.Name
		}
		list = append(list, fmt.Sprintf("%s (up %s)", in.Name, time.Since(in.Started).Round(time.Second)))
	}
	if here != "" {
		return lab.Attach(here)
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, fmt.Errorf("lab down: no lab was started from this terminal; name one: %s; or --all", strings.Join(list, ", "))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "No lab was started from this terminal; there are: %s.\nTake %s down? [y/N] ", strings.Join(list, ", "), newest.Name)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return nil, errors.New("lab down: nothing was taken down")
	}
	return newest, nil
}
