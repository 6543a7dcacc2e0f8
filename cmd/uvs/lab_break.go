package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"uvs/internal/lang"
	"uvs/lab"
)

func labBreakCmd() *cobra.Command {
	var name *string
	var seed uint64
	var list bool
	var language string
	cmd := &cobra.Command{
		Use:   "break FAULT|random",
		Short: "Insert a mistake into a lab, for you to find",
		Long: `Inserts one of the classic mistakes into a running lab and does not say what it did.
FAULT is a name or a code; random takes one that fits the lab, the same one for the
same seed. --list shows what fits. uvs lab check says what does not work any more, uvs
lab hint helps in three steps, uvs doctor finds it, uvs lab reveal names it.

Faults: ` + wrapped(lab.FaultNames()) + ".",
		Example: "  uvs lab break random --seed 7 --lab dr\n  uvs doctor --lab dr\n  uvs lab reveal --lab dr",
		RunE: func(cmd *cobra.Command, args []string) error {
			tag, err := lang.Of(language, os.Getenv)
			if err != nil {
				return err
			}
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			if list {
				return listFaults(cmd.OutOrStdout(), l, tag)
			}
			if len(args) != 1 {
				return fmt.Errorf("name one fault, or random; uvs lab break --list shows what fits")
			}
			if !cmd.Flags().Changed("seed") {
				seed = rand.Uint64()
			}
			if err := breakLab(l, args[0], seed); err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), brokenText(l.Name).In(tag))
			return err
		},
	}
	name = labFlag(cmd)
	cmd.Flags().Uint64Var(&seed, "seed", 0, "choose the same fault, server and form each time")
	cmd.Flags().BoolVar(&list, "list", false, "list the faults that fit the lab")
	langFlag(cmd, &language)
	cmd.ValidArgsFunction = completeFaults
	return cmd
}

// wrapped joins words into lines of some 80 columns.
func wrapped(words []string) string {
	text, column := "", len("Faults: ")
	for i, w := range words {
		if i > 0 {
			text += ", "
		}
		if column += len(w) + 2; column > 80 {
			text, column = strings.TrimSuffix(text, " ")+"\n", len(w)+2
		}
		text += w
	}
	return text
}

func breakLab(l *lab.Lab, word string, seed uint64) error {
	f, err := faultOf(word, &l.Topology, seed)
	if err != nil {
		return err
	}
	return l.Break(f, seed)
}

func faultOf(word string, t *lab.Topology, seed uint64) (*lab.Fault, error) {
	if word == "random" {
		return lab.RandomFault(t, seed)
	}
	return lab.FindFault(word)
}

func listFaults(w io.Writer, l *lab.Lab, tag lang.Tag) error {
	for i := range lab.Faults {
		if f := &lab.Faults[i]; f.Fits(&l.Topology) {
			fmt.Fprintf(w, "%s %-15s  %s\n", f.Code, f.Name, f.Title().In(tag))
		}
	}
	return nil
}

// brokenText says that there is a mistake, and how to find it.
func brokenText(name string) lang.Text {
	return lang.Text{
		EN: fmt.Sprintf("something in lab %[1]s is wrong now\nwhat fails: uvs lab check %[1]s     help: uvs lab hint --lab %[1]s\n"+
			"find it: uvs doctor --lab %[1]s     the answer: uvs lab reveal --lab %[1]s\n", name),
		ZH: fmt.Sprintf("实验环境 %[1]s 中现在有一处错误\n哪里不正常：uvs lab check %[1]s     提示：uvs lab hint --lab %[1]s\n"+
			"诊断：uvs doctor --lab %[1]s     答案：uvs lab reveal --lab %[1]s\n", name),
	}
}

func completeFaults(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return append(lab.FaultNames(), "random"), cobra.ShellCompDirectiveNoFileComp
}
