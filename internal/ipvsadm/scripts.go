package ipvsadm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// Save does what the script ipvsadm-save does: -S, or -S -n for the argument -n. For any
// other argument with a dash it prints help; it ignores the rest.
func (t *Tool) Save(ctx context.Context, args []string) int {
	words := []string{"-S"}
	for _, arg := range args {
		switch {
		case arg == "-n":
			words = []string{"-S", "-n"}
		case strings.HasPrefix(arg, "-"):
			fmt.Fprintf(t.Stderr, "%s: Script to save the IPVS table to stdout.\n"+
				"   With the -n option, prints out the table in numeric format.\n", filepath.Base(t.Program))
			return 1
		}
	}
	t.Program = "ipvsadm"
	return t.Run(ctx, words)
}

// Restore does what the script ipvsadm-restore does: it reads all rules, clears the table
// and restores the rules, without the lines that begin with "#". It ignores arguments.
func (t *Tool) Restore(ctx context.Context, _ []string) int {
	t.Program = "ipvsadm"
	text, err := io.ReadAll(t.Stdin)
	if err != nil {
		fmt.Fprintln(t.Stderr, err)
		return statusFailed
	}
	var rules bytes.Buffer
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("#")) {
			rules.Write(line)
		}
	}
	t.Run(ctx, []string{"-C"}) // reports its own errors
	t.last = nil
	t.Stdin = &rules
	return t.Run(ctx, []string{"-R"})
}
