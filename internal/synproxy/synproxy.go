// Package synproxy reads and writes which services have a SYN proxy. It handles the
// arguments of `uvs synproxy` and the lines that begin with "synproxy" in a rules file.
//
//	synproxy -t 10.0.0.1:80 on
//
// A service is named as in ipvsadm (-t, -f with -6). The package only reads and writes
// text. It keeps no state.
package synproxy

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

// Op is what a command line asks for.
type Op byte

// Operations.
const (
	List Op = iota
	Save    // list as commands
	Set
)

// Command is a parsed command line.
type Command struct {
	Op   Op
	Key  config.Key // the service; zero in List and Save means all
	On   bool       // of Set
	JSON bool       // of List
}

// words are the values of the options on a command line.
type words struct {
	service    ipvsadm.KeyOptions
	save, json bool
}

// flags returns the options; parsing them fills w.
func flags(w *words) *pflag.FlagSet {
	f := pflag.NewFlagSet("synproxy", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	w.service.AddTo(f)
	f.BoolVarP(&w.save, "save", "S", false, "list the services with a SYN proxy as commands")
	f.BoolVar(&w.json, "json", false, "list as JSON")
	f.BoolP("numeric", "n", true, "accepted for ipvsadm's sake: listings are numeric")
	return f
}

// Usage describes the options.
func Usage() string { return flags(&words{}).FlagUsages() }

// Parse reads a command line without the word synproxy; names resolves names of hosts
// and ports. An empty one is a List. The error is pflag.ErrHelp for --help.
func Parse(args []string, names ipvsadm.Names) (Command, error) {
	var w words
	f := flags(&w)
	if err := f.Parse(args); err != nil {
		return Command{}, err
	}
	c := Command{Op: List, JSON: w.json}
	switch {
	case f.NArg() == 1 && (f.Arg(0) == "on" || f.Arg(0) == "off"):
		c.Op, c.On = Set, f.Arg(0) == "on"
	case f.NArg() > 0:
		return c, fmt.Errorf("%s: on or off, once", f.Arg(f.NArg()-1))
	case w.save:
		c.Op = Save
	}
	var err error
	if c.Key, err = w.service.Key(names); err != nil {
		return c, err
	}
	switch {
	case c.Op == Set && (w.save || w.json):
		return c, errors.New("-S and --json list, and set nothing")
	case w.save && w.json:
		return c, errors.New("-S or --json")
	case c.Op == Set && c.Key == (config.Key{}):
		return c, errors.New("a SYN proxy needs a service: -t or -f")
	case c.Op == Set:
		err = c.Key.TakesSynProxy()
	}
	return c, err
}

// Setting is the setting of a service, as JSON has it.
type Setting struct {
	Service  config.Key `json:"service"`
	SynProxy bool       `json:"syn_proxy"`
}

// Of returns the settings of the services that can have a SYN proxy.
func Of(services []config.ServiceState) []Setting {
	all := []Setting{}
	for _, v := range services {
		if v.Key.TakesSynProxy() == nil {
			all = append(all, Setting{v.Key, v.SynProxy})
		}
	}
	return all
}

// Print lists settings.
func Print(w io.Writer, all []Setting) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "service\tsynproxy")
	for _, s := range all {
		on := "off"
		if s.SynProxy {
			on = "on"
		}
		fmt.Fprintf(t, "%s\t%s\n", s.Service, on)
	}
	return t.Flush()
}

// Lines returns the commands that switch on what is on, without "uvs".
func Lines(all []Setting) []string {
	var lines []string
	for _, s := range all {
		if s.SynProxy {
			lines = append(lines, ipvsadm.FormatCommand(Command{Op: Set, Key: s.Service, On: true}.Config()))
		}
	}
	return lines
}

// Config returns the command of a Set.
func (c Command) Config() config.Command {
	return config.Command{Op: config.OpSetSynProxy, Service: &config.Service{Key: c.Key}, SynProxy: c.On}
}
