// Package viprole reads and writes when a director answers for the virtual addresses of
// services. It handles the arguments of `uvs vip` and the lines that begin with "vip" in a
// rules file.
//
//	vip -t 10.0.0.1:80 host
//
// A service is named as in ipvsadm (-t, -u, --sctp-service, -f with -6). The package only
// reads and writes text. It keeps no state.
package viprole

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
	Key  config.Key     // the service; zero in List and Save means all
	Role config.VIPRole // of Set
	JSON bool           // of List
}

// byDefault is the word for config.VIPDefault.
const byDefault = "default"

// words are the values of the options on a command line.
type words struct {
	service    ipvsadm.KeyOptions
	save, json bool
}

// flags returns the options; parsing them fills w.
func flags(w *words) *pflag.FlagSet {
	f := pflag.NewFlagSet("vip", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	w.service.AddTo(f)
	f.BoolVarP(&w.save, "save", "S", false, "list the roles of services that have one as commands")
	f.BoolVar(&w.json, "json", false, "list as JSON")
	f.BoolP("numeric", "n", true, "accepted for ipvsadm's sake: listings are numeric")
	return f
}

// Usage describes the options.
func Usage() string { return flags(&words{}).FlagUsages() }

// Parse reads a command line without the word vip; names resolves names of hosts and
// ports. An empty one is a List. The error is pflag.ErrHelp for --help.
func Parse(args []string, names ipvsadm.Names) (Command, error) {
	var w words
	f := flags(&w)
	if err := f.Parse(args); err != nil {
		return Command{}, err
	}
	c := Command{Op: List, JSON: w.json}
	if w.save {
		c.Op = Save
	}
	switch f.NArg() {
	case 0:
	case 1:
		c.Op = Set
		if c.Role = config.VIPRole(f.Arg(0)); c.Role == byDefault {
			c.Role = config.VIPDefault
		} else if c.Role == config.VIPDefault || c.Role.Validate() != nil {
			return c, fmt.Errorf("%q: a role is always, host, none or default", f.Arg(0))
		}
	default:
		return c, fmt.Errorf("%s: one role", f.Arg(1))
	}
	var err error
	if c.Key, err = w.service.Key(names); err != nil {
		return c, err
	}
	return c, c.check(w)
}

func (c Command) check(w words) error {
	switch {
	case c.Op == Set && (w.save || w.json):
		return errors.New("-S and --json list, and set nothing")
	case w.save && w.json:
		return errors.New("-S or --json")
	case c.Op == Set && c.Key == (config.Key{}):
		return errors.New("a role needs a service: -t, -u, --sctp-service or -f; that of all services is `uvs director --vip-role`")
	}
	return nil
}

// Of returns the roles of one service, or of all if k is zero.
func Of(all []config.VIP, k config.Key) ([]config.VIP, error) {
	if k == (config.Key{}) {
		return all, nil
	}
	for _, v := range all {
		if v.Service.Normal() == k.Normal() {
			return []config.VIP{v}, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", k, config.ErrNoSuchService)
}

// Print lists roles.
func Print(w io.Writer, all []config.VIP) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "service\trole\tanswers\tserves")
	for _, v := range all {
		role := string(v.Role)
		if v.Default {
			role += " (default)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Service, role, yes(v.Answers), yes(v.Serves))
	}
	return t.Flush()
}

func yes(on bool) string {
	if on {
		return "yes"
	}
	return "no"
}

// Lines returns the commands that set the roles of services that have one, without "uvs".
func Lines(all []config.VIP) []string {
	var lines []string
	for _, v := range all {
		if !v.Default {
			lines = append(lines, ipvsadm.FormatCommand(Command{Op: Set, Key: v.Service, Role: v.Role}.Config()))
		}
	}
	return lines
}

// Config returns the command of a Set.
func (c Command) Config() config.Command {
	return config.Command{Op: config.OpSetVIPRole, Service: &config.Service{Key: c.Key}, VIPRole: c.Role}
}
