package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"uvs/internal/lang"
	"uvs/lab/learn"
)

func learnVerifyCmd() *cobra.Command {
	var language string
	var asJSON, alone bool
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Judge the results that students hand in",
		Long: `Prints a line for each result that uvs learn --result has written: whose it is, what was
done, in what time, with how many tries and hints, how many steps were typed by --do,
skipped, or done with the answer shown (HELPED), and whether it holds: unchanged since it
was written, complete, of this version of the lesson, and not the same run as another file.
The exit status is 0 if all hold, 1 if one does not or is no result, 2 if one cannot be read.

Whoever reads the source of uvs can make a file that holds; see docs/learn.md.`,
		Example: "  uvs learn verify class/*.json",
		RunE: func(cmd *cobra.Command, files []string) error {
			tag, err := lang.Of(language, os.Getenv)
			if err != nil {
				return usage(fmt.Errorf("learn verify: --lang: %w", err))
			}
			if len(files) == 0 {
				return usage(errors.New("learn verify: name the files"))
			}
			all := learn.Verify(files, alone)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), all)
			} else {
				err = learn.PrintVerdicts(cmd.OutOrStdout(), all, tag)
			}
			if err != nil {
				return err
			}
			if status := verifyStatus(all); status != 0 {
				os.Exit(status)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&alone, "unaided", false, "a result does not hold if a step was typed by --do, skipped, or done with the answer shown")
	langFlag(cmd, &language)
	return cmd
}

// verifyStatus returns the exit status for verdicts: that of the worst one.
func verifyStatus(all []learn.Verdict) (status int) {
	for i := range all {
		switch {
		case all[i].Unread:
			return 2
		case !all[i].OK():
			status = 1
		}
	}
	return status
}
