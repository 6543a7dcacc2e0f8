package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"uvs/bench"
	"uvs/bench/report"
)

func benchCompareCmd() *cobra.Command {
	var failSlower, page string
	cmd := &cobra.Command{
		Use:   "compare OLD.json NEW.json",
		Short: "What differs between two runs, as far as it can be told",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			limit, err := percent(failSlower)
			if err != nil {
				return fmt.Errorf("--fail-slower: %w", err)
			}
			old, err := readReport(args[0])
			if err != nil {
				return err
			}
			fresh, err := readReport(args[1])
			if err != nil {
				return err
			}
			if a, b := old.Wires(), fresh.Wires(); a != b {
				return fmt.Errorf("compare: %s was measured %s, %s %s: that is no comparison", args[0], over(a), args[1], over(b))
			}
			changes := report.Compare(old.Results(), fresh.Results())
			if page != "" {
				err := writeFile(page, func(w io.Writer) error { return report.CompareHTML(w, &old.Run, &fresh.Run, changes) })
				if err != nil {
					return err
				}
			}
			if err := report.PrintChanges(cmd.OutOrStdout(), changes); err != nil {
				return err
			}
			return tooSlow(changes, limit)
		},
	}
	cmd.Flags().StringVar(&page, "html", "", "write one page with plots to `FILE`")
	cmd.Flags().StringVar(&failSlower, "fail-slower", "", "exit with status 1 if anything is slower by more than this, such as 5%")
	return cmd
}

// over says over what links a run was made.
func over(wires string) string {
	if wires == "" {
		return "over the kernel's links"
	}
	return wires
}

func benchTextCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "text REPORT.json",
		Short: "A report's trials in Go's benchmark format, for benchstat",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := readReport(args[0])
			if err != nil {
				return err
			}
			return r.Benchstat(cmd.OutOrStdout())
		},
	}
}

func benchHTMLCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "html REPORT.json PAGE.html",
		Short: "A report as one page with plots",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := readReport(args[0])
			if err != nil {
				return err
			}
			return writeFile(args[1], r.HTML)
		},
	}
}

func readReport(name string) (*bench.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bench.ReadReport(f)
}

// percent reads "5%" or "5" as 0.05, and nothing as no limit.
func percent(s string) (float64, error) {
	if s == "" {
		return -1, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || v < 0 {
		return 0, errors.New("a share such as 5%")
	}
	return v / 100, nil
}

func tooSlow(changes []report.Change, limit float64) error {
	if limit < 0 {
		return nil
	}
	var names []string
	for _, c := range changes {
		if c.Verdict == report.Slower && 1-c.Better.Median > limit {
			names = append(names, c.Target+" "+c.Measure)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("slower by more than %.0f %%: %s", 100*limit, strings.Join(names, ", "))
	}
	return nil
}
