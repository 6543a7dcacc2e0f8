package main

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"uvs/bench"
	"uvs/bench/report"
)

//go:embed scenarios/*.yaml
var shipped embed.FS

// scenario is a case that is kept in a file: parts, each a measure with its
// options, and limits that decide whether it passes. An option of a part is a flag
// of the measure's own command, and so has the same name, defaults and checks.
type scenario struct {
	name, about string
	parts       []bench.Part
}

// measureCmds are the commands that a part may name.
func measureCmds() map[string]func() *measureCmd {
	return map[string]func() *measureCmd{
		"quick": benchQuickCmd, "tcp": benchTCPCmd, "search": benchSearchCmd,
		"fairness": benchFairnessCmd, "disrupt": benchDisruptCmd, "conns": benchConnsCmd, "recovery": benchRecoveryCmd,
	}
}

// notOptions are flags that say where results go: a scenario does not.
var notOptions = []string{"json", "html", "verbose", "help"}

// mistake is what is wrong at a line of a scenario.
func mistake(file string, n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", file, n.Line, fmt.Sprintf(format, args...))
}

// readScenario reads a scenario. Whatever it does not know is an error that names
// the line.
func readScenario(file string, text []byte) (*scenario, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:1: a scenario has name, about and parts", file)
	}
	s := &scenario{name: strings.TrimSuffix(path.Base(file), ".yaml")}
	for key, value := range pairs(doc.Content[0]) {
		switch key.Value {
		case "name":
			s.name = value.Value
		case "about":
			s.about = value.Value
		case "parts":
			if err := s.readParts(file, value); err != nil {
				return nil, err
			}
		default:
			return nil, mistake(file, key, "unknown field %s: a scenario has name, about and parts", key.Value)
		}
	}
	if len(s.parts) == 0 {
		return nil, fmt.Errorf("%s:1: a scenario needs parts", file)
	}
	return s, nil
}

// pairs are the keys and values of a mapping in their order.
func pairs(n *yaml.Node) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

func (s *scenario) readParts(file string, list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode {
		return mistake(file, list, "parts: a list, each with a measure")
	}
	seen := map[string]bool{}
	for _, n := range list.Content {
		var measure *yaml.Node
		for key, value := range pairs(n) {
			if key.Value == "measure" {
				measure = value
			}
		}
		if measure == nil {
			return mistake(file, n, "a part needs a measure")
		}
		if seen[measure.Value] {
			return mistake(file, measure, "measure %s is there twice: give its options more choices", measure.Value)
		}
		seen[measure.Value] = true
		if err := s.readPart(file, measure, n); err != nil {
			return err
		}
	}
	return nil
}

// readPart sets the flags of the measure's own command, and takes its parts.
func (s *scenario) readPart(file string, measure, n *yaml.Node) error {
	make, ok := measureCmds()[measure.Value]
	if !ok {
		return mistake(file, measure, "unknown measure %s", measure.Value)
	}
	cmd := make()
	var limits *yaml.Node
	for key, value := range pairs(n) {
		var err error
		switch key.Value {
		case "measure":
		case "limits":
			limits = value
		default:
			err = setOption(file, cmd.Command, key, value)
		}
		if err != nil {
			return err
		}
	}
	parts, err := cmd.parts()
	if err != nil {
		return mistake(file, n, "%s: %v", measure.Value, err)
	}
	if limits != nil {
		if err := readLimits(file, limits, parts); err != nil {
			return err
		}
	}
	s.parts = append(s.parts, parts...)
	return nil
}

// setOption sets a flag: a list replaces its default, a scalar is what one would
// type.
func setOption(file string, cmd *cobra.Command, key, value *yaml.Node) error {
	f := cmd.Flags().Lookup(key.Value)
	for _, n := range notOptions {
		if key.Value == n {
			f = nil
		}
	}
	if f == nil {
		return mistake(file, key, "unknown field %s: the options are the flags of uvs bench %s", key.Value, cmd.Name())
	}
	words := []string{value.Value}
	switch value.Kind {
	case yaml.ScalarNode:
	case yaml.SequenceNode:
		words = nil
		for _, v := range value.Content {
			if v.Kind != yaml.ScalarNode {
				return mistake(file, v, "%s: a list of words", key.Value)
			}
			words = append(words, v.Value)
		}
	default:
		return mistake(file, value, "%s: a word or a list of words", key.Value)
	}
	list, ok := f.Value.(pflag.SliceValue)
	if !ok && len(words) != 1 {
		return mistake(file, value, "%s: one word, not a list", key.Value)
	}
	var err error
	if ok {
		err = list.Replace(words)
	} else {
		err = f.Value.Set(words[0])
	}
	if err != nil {
		return mistake(file, value, "%s: %q is not what --%s takes (%s)", key.Value, strings.Join(words, ","), key.Value, f.Value.Type())
	}
	f.Changed = true
	return nil
}

// readLimits gives each limit to the parts that know it.
func readLimits(file string, n *yaml.Node, parts []bench.Part) error {
	if n.Kind != yaml.MappingNode {
		return mistake(file, n, "limits: names with numbers")
	}
	for key, value := range pairs(n) {
		l := report.Limit{Name: key.Value}
		if err := value.Decode(&l.Bound); err != nil {
			return mistake(file, value, "%s: %q is not a number", key.Value, value.Value)
		}
		known, unknown := false, error(nil)
		for i := range parts {
			o := &parts[i].Options
			if err := bench.CheckLimit(parts[i].Measure.Name, key.Value); err != nil {
				unknown = err
				continue
			}
			known, o.Limits = true, append(o.Limits, l)
		}
		if !known {
			return mistake(file, key, "%v", unknown)
		}
	}
	return nil
}

// loadScenario reads a file, or one that is shipped with the program.
func loadScenario(name string) (*scenario, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(name, "./") {
		if text, err = shipped.ReadFile("scenarios/" + name + ".yaml"); err != nil {
			return nil, fmt.Errorf("no scenario %s, neither a file nor one of uvs bench run --list", name)
		}
	}
	if err != nil {
		return nil, err
	}
	return readScenario(name, text)
}

func benchRunCmd() *cobra.Command {
	var f benchFlags
	var list bool
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "A case kept in a file, with limits that decide whether it passes",
		Long: `Runs a scenario: a YAML file whose parts each name a measure, options with the names
of its command's flags, and limits. The exit status is 1 if a limit is not kept.
docs/benchmarking.md describes the file; --list shows the scenarios that come with
uvs, --show NAME prints one to begin with.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch show, _ := cmd.Flags().GetString("show"); {
			case list:
				return listScenarios(cmd.OutOrStdout())
			case show != "":
				text, err := shipped.ReadFile("scenarios/" + show + ".yaml")
				if err != nil {
					return fmt.Errorf("no scenario %s: see --list", show)
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			case len(args) == 0:
				return errors.New("which scenario? a file, or one of --list")
			}
			s, err := loadScenario(args[0])
			if err != nil {
				return err
			}
			r, err := s.run(cmd, f.verbose)
			return errors.Join(f.show(cmd.OutOrStdout(), r), err, limitsKept(r))
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&list, "list", false, "list the scenarios that come with uvs")
	fl.String("show", "", "print the scenario `NAME` that comes with uvs")
	fl.StringVar(&f.json, "json", "", "write everything to `FILE`, - for standard output instead of the table")
	fl.StringVar(&f.html, "html", "", "write one page with plots to `FILE`")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "show what the forwarders print")
	return cmd
}

// run measures all parts.
func (s *scenario) run(cmd *cobra.Command, verbose bool) (*bench.Report, error) {
	for i := range s.parts {
		if verbose {
			s.parts[i].Options.Log = os.Stderr
		}
	}
	return measureAll(cmd.Context(), s.name, s.parts)
}

// unfinished is an error if the run was interrupted: who goes by its exit status is
// not to take a part for the whole. What failed is an error of the run itself.
func unfinished(r *bench.Report) error {
	if r == nil || r.Partial == "" || len(r.Failures) > 0 {
		return nil
	}
	return fmt.Errorf("the run was %s: what is shown is not all, and limits were not judged where rounds are missing", r.Partial)
}

// limitsKept is an error that names the limits that were not, and the targets that
// did not forward rightly.
func limitsKept(r *bench.Report) error {
	if r == nil {
		return nil
	}
	var words []string
	for _, t := range r.Invalid() {
		words = append(words, t+" is INVALID")
	}
	for _, j := range r.Failed() {
		if !j.Incomplete {
			words = append(words, fmt.Sprintf("%s %s %s is %.4g", j.Target, j.Of, j.Name, j.Value.Median))
		}
	}
	if len(words) == 0 {
		return unfinished(r)
	}
	return errors.Join(unfinished(r), fmt.Errorf("limits not kept: %s", strings.Join(words, "; ")))
}

func listScenarios(w io.Writer) error {
	files, err := shipped.ReadDir("scenarios")
	if err != nil {
		return err
	}
	for _, f := range files {
		s, err := loadScenario(strings.TrimSuffix(f.Name(), ".yaml"))
		if err != nil {
			return err
		}
		about := bench.Estimated(s.parts...)
		if _, err := fmt.Fprintf(w, "%-12s %-8s %s\n", s.name, "~"+about.String(), s.about); err != nil {
			return err
		}
	}
	return nil
}
