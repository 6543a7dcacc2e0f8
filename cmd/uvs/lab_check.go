package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/internal/lang"
	"uvs/lab"
)

// labCheckFlags are the options of `uvs lab check`.
type labCheckFlags struct {
	lab    *string
	only   []string
	within time.Duration
	list   bool
	json   bool
	lang   string
}

func labCheckCmd() *cobra.Command {
	var o labCheckFlags
	cmd := &cobra.Command{
		Use:   "check [LAB]",
		Short: "See whether a lab does what its topology promises",
		Long: `Tries what the topology of a lab promises, test by test: who answers the client and in
which shares, which address the servers see, where the answers pass, who answers ARP
for the virtual address, the director's rules, addresses, parameters and links. Each
line says what was seen and what was expected. Nothing is changed; with two directors
each takes over once. In a bare lab it says what is left to do.

The exit status is 0 if all hold, 1 if some do not, 2 if the lab cannot be asked.`,
		Example: "  uvs lab check\n  uvs lab check dr --only rules,client-is-served\n  uvs lab check --json --lang zh",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			failed, err := o.run(ctx, cmd.OutOrStdout(), args)
			if err != nil {
				return usage(err)
			}
			if failed > 0 {
				os.Exit(1)
			}
			return nil
		},
	}
	o.lab = labFlag(cmd)
	cmd.ValidArgsFunction = completeLabs
	f := cmd.Flags()
	f.StringSliceVar(&o.only, "only", nil, "do the checks with these `NAMES` only")
	f.DurationVar(&o.within, "within", 0, "how long one answer may take (default: what the check says, or 5 s)")
	f.BoolVar(&o.list, "list", false, "list the checks, and do none")
	f.BoolVar(&o.json, "json", false, "print JSON")
	langFlag(cmd, &o.lang)
	return cmd
}

// checkLine is what `uvs lab check --json` says about a check.
type checkLine struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	OK       bool   `json:"ok"`
	Seen     string `json:"seen"`
	Expected string `json:"expected"`
	Hint     string `json:"hint,omitempty"`
}

// checkReport is what `uvs lab check --json` prints.
type checkReport struct {
	Lab    string      `json:"lab"`
	OK     bool        `json:"ok"`
	Passed int         `json:"passed"`
	Failed int         `json:"failed"`
	Checks []checkLine `json:"checks"`
}

// run does the checks and returns how many failed.
func (o *labCheckFlags) run(ctx context.Context, w io.Writer, args []string) (failed int, err error) {
	tag, err := lang.Of(o.lang, os.Getenv)
	if err != nil {
		return 0, err
	}
	if o.within < 0 {
		return 0, errors.New("lab check: --within is not negative")
	}
	l, err := attachArg(*o.lab, args)
	if err != nil {
		return 0, err
	}
	checks, err := o.chosen(l.Topology.Promises())
	if err != nil {
		return 0, err
	}
	if len(checks) == 0 {
		return 0, fmt.Errorf("lab %s has no checks", l.Name)
	}
	if o.list {
		return 0, o.printList(w, checks)
	}
	report := checkReport{Lab: l.Name, Checks: []checkLine{}}
	for i := range checks {
		line, err := o.try(ctx, l, &checks[i], tag)
		if err != nil {
			return 0, err
		}
		report.add(line)
		if !o.json {
			line.print(w, tag, width(checks))
		}
	}
	if o.json {
		return report.Failed, json.NewEncoder(w).Encode(report)
	}
	_, err = fmt.Fprintln(w, lang.Textf("%d of %d checks hold", "通过 %d 项，共 %d 项检查", report.Passed, len(checks)).In(tag))
	return report.Failed, err
}

// try does a check.
func (o *labCheckFlags) try(ctx context.Context, l *lab.Lab, c *lab.Check, tag lang.Tag) (checkLine, error) {
	if o.within > 0 {
		c.Within = o.within
	}
	r := c.Run(ctx, l)
	line := checkLine{Name: r.Check.Name, Kind: r.Check.Kind, OK: r.OK, Seen: r.Seen.In(tag), Expected: r.Expected.In(tag)}
	if !line.OK {
		line.Hint = r.Check.Hint.In(tag)
	}
	return line, ctx.Err()
}

// add counts a check.
func (r *checkReport) add(line checkLine) {
	r.Checks = append(r.Checks, line)
	if line.OK {
		r.Passed++
	} else {
		r.Failed++
	}
	r.OK = r.Failed == 0
}

// chosen returns the checks that --only names, or all.
func (o *labCheckFlags) chosen(all []lab.Check) ([]lab.Check, error) {
	all = slices.Clone(all)
	for i := range all {
		if all[i].Name == "" {
			all[i].Name = all[i].Kind
		}
	}
	if len(o.only) == 0 {
		return all, nil
	}
	var names []string
	for i := range all {
		names = append(names, all[i].Name)
	}
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("--only %s: there is no such check, there are %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(c lab.Check) bool { return !slices.Contains(o.only, c.Name) }), nil
}

func (o *labCheckFlags) printList(w io.Writer, checks []lab.Check) error {
	if o.json {
		return json.NewEncoder(w).Encode(checks)
	}
	for i := range checks {
		fmt.Fprintf(w, "%-*s  %s\n", width(checks), checks[i].Name, checks[i].Kind)
	}
	return nil
}

// width is that of the longest name.
func width(checks []lab.Check) (most int) {
	for i := range checks {
		most = max(most, len(checks[i].Name))
	}
	return most
}

// print writes a line about a check, and one with what to look at if it does not hold.
func (c *checkLine) print(w io.Writer, tag lang.Tag, width int) {
	if c.OK {
		fmt.Fprintf(w, "ok    %-*s  %s\n", width, c.Name, c.seenAndExpected(tag))
		return
	}
	fmt.Fprintf(w, "FAIL  %-*s  %s\n", width, c.Name, c.seenAndExpected(tag))
	if c.Hint != "" {
		fmt.Fprintf(w, "      %-*s  → %s\n", width, "", c.Hint)
	}
}

func (c *checkLine) seenAndExpected(tag lang.Tag) string {
	if c.Seen == c.Expected {
		return lang.Text{EN: "seen as expected: " + c.Seen, ZH: "与预期一致：" + c.Seen}.In(tag)
	}
	return lang.Text{
		EN: "seen: " + c.Seen + "; expected: " + c.Expected,
		ZH: "实际：" + c.Seen + "；预期：" + c.Expected,
	}.In(tag)
}
