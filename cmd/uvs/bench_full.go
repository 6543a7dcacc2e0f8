package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/bench"
)

func benchFullCmd() *cobra.Command {
	var quick, verbose bool
	dir := "uvs-bench"
	cmd := &cobra.Command{
		Use:   "full",
		Short: "Everything, into a folder with report.json, report.txt and report.html",
		Long: `Measures all there is in one run, the quickest and most telling first. The folder
gets report.html to read, report.json with every trial, and report.txt for benchstat.
Ctrl-C ends the run with status 1; what has been measured by then is written, marked partial.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name := "full"
			if quick {
				name = "check"
			}
			s, err := loadScenario(name)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM) // before it is promised
			defer stop()
			cmd.SetContext(ctx)
			fmt.Fprintf(cmd.ErrOrStderr(), "this takes some %v; Ctrl-C ends it with what is done by then\n", bench.Estimated(s.parts...))
			r, err := s.run(cmd, verbose)
			if r == nil {
				return err
			}
			return errors.Join(writeReports(dir, r), r.Print(cmd.OutOrStdout()), err, limitsKept(r))
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&quick, "quick", false, "two minutes' worth: is all right?")
	fl.StringVarP(&dir, "out", "o", dir, "`FOLDER` for the reports")
	fl.BoolVarP(&verbose, "verbose", "v", false, "show what the forwarders print")
	return cmd
}

// writeReports writes all forms of a report into a folder.
func writeReports(dir string, r *bench.Report) error {
	return errors.Join(
		writeFile(filepath.Join(dir, "report.json"), r.Write),
		writeFile(filepath.Join(dir, "report.txt"), r.Benchstat),
		writeFile(filepath.Join(dir, "report.html"), r.HTML))
}
