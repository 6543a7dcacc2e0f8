// Package policy reads and writes the policies of services: what a director does, beyond
// IPVS, with connections whose real server is removed. It handles the arguments of `uvs
// policy` and the lines that begin with "policy" in a rules file.
//
//	policy -t 10.0.0.1:80 --gone reset --drain 30s --udp-reschedule
//
// A service is named as in ipvsadm (-t, -u, --sctp-service, -f with -6). A policy is set
// as a whole: whatever is not mentioned is as in IPVS, so "--gone drop" alone restores
// IPVS's behaviour.
//
// The package only reads and writes text. It keeps no state.
package policy

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
	Op     Op
	JSON   bool          // of List
	Key    config.Key    // the service; zero in List and Save means all
	Policy config.Policy // of Set
}

// words are the values of the options on a command line.
type words struct {
	service     ipvsadm.KeyOptions
	save, json  bool
	gone, drain string
	reschedule  bool
}

// flags returns the options; parsing them fills w.
func flags(w *words) *pflag.FlagSet {
	f := pflag.NewFlagSet("policy", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	w.service.AddTo(f)
	f.StringVar(&w.gone, "gone", "", "`ANSWER` to packets for a server that is gone: drop, reset or icmp")
	f.StringVar(&w.drain, "drain", "", "`TIME` the connections of a server may go on after it was removed or its weight set to 0: 30s, 5m")
	f.BoolVar(&w.reschedule, "udp-reschedule", false, "schedule the next datagram of such a server's UDP flows anew")
	f.BoolVarP(&w.save, "save", "S", false, "list the policies as commands")
	f.BoolVar(&w.json, "json", false, "list as JSON")
	f.BoolP("numeric", "n", true, "accepted for ipvsadm's sake: listings are numeric")
	return f
}

// Usage describes the options.
func Usage() string { return flags(&words{}).FlagUsages() }

// Parse reads a command line without the word policy; names resolves names of hosts and
// ports. An empty one is a List. The error is pflag.ErrHelp for --help.
func Parse(args []string, names ipvsadm.Names) (Command, error) {
	var w words
	f := flags(&w)
	if err := f.Parse(args); err != nil {
		return Command{}, err
	}
	if f.NArg() > 0 {
		return Command{}, fmt.Errorf("%s: no such word here", f.Arg(0))
	}
	sets := f.Changed("gone") || f.Changed("drain") || f.Changed("udp-reschedule")
	c := Command{Op: List, JSON: w.json}
	switch {
	case w.json && (sets || w.save):
		return c, errors.New("--json lists, and goes with neither -S nor a policy")
	case w.save && sets:
		return c, errors.New("-S lists, and sets nothing")
	case w.save:
		c.Op = Save
	case sets:
		c.Op = Set
	}
	var err error
	if c.Key, err = w.service.Key(names); err != nil {
		return c, err
	}
	if c.Op == Set && c.Key == (config.Key{}) {
		return c, errors.New("a policy needs a service: -t, -u, --sctp-service or -f")
	}
	c.Policy, err = w.policy()
	return c, err
}

func (w *words) policy() (p config.Policy, err error) {
	p.Reschedule = w.reschedule
	if w.gone != "" {
		if err := p.Gone.UnmarshalText([]byte(w.gone)); err != nil {
			return p, fmt.Errorf("--gone %s: drop, reset or icmp", w.gone)
		}
	}
	if w.drain != "" {
		if p.Drain, err = config.ParseDrain(w.drain); err != nil {
			return p, fmt.Errorf("--drain: %w", err)
		}
	}
	return p, nil
}

// Print lists the policies of services, and the servers that are draining.
func Print(w io.Writer, services []config.ServiceState) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "service\tgone\tdrain\tudp-reschedule")
	for _, v := range services {
		p := v.Policy
		drain, reschedule := "-", "-"
		if p.Drain != 0 {
			drain = p.DrainText()
		}
		if p.Reschedule {
			reschedule = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Key, p.Gone, drain, reschedule)
		for _, s := range v.Servers {
			if s.DrainLeft != 0 {
				fmt.Fprintf(t, "  -> %s\t\t%s left\t%d connections\n", s.AddrPort(), leftText(s.DrainLeft), s.Active+s.Inactive)
			}
		}
	}
	return t.Flush()
}

// Setting is the policy of a service, as JSON has it.
type Setting struct {
	Service config.Key    `json:"service"`
	Policy  config.Policy `json:"policy"`
	Drains  []Drain       `json:"drains"` // servers whose connections may go on for a time
}

// Drain is a server that drains.
type Drain struct {
	Server      string `json:"server"`
	Left        uint32 `json:"left_ms"`
	Connections uint32 `json:"connections"`
}

// Of returns the policies of services, also those that are IPVS's way.
func Of(services []config.ServiceState) []Setting {
	all := []Setting{}
	for _, v := range services {
		c := Setting{Service: v.Key, Policy: v.Policy, Drains: []Drain{}}
		for _, s := range v.Servers {
			if s.DrainLeft > 0 {
				c.Drains = append(c.Drains, Drain{s.AddrPort().String(), s.DrainLeft, s.Active + s.Inactive})
			}
		}
		all = append(all, c)
	}
	return all
}

// leftText returns a remaining time in seconds, rounded up.
func leftText(ms uint32) string { return fmt.Sprintf("%ds", (ms+999)/1000) }

// Lines returns the commands that set the policies of services, without "uvs".
func Lines(services []config.ServiceState) []string {
	var lines []string
	for _, v := range services {
		if v.Policy != (config.Policy{}) {
			lines = append(lines, ipvsadm.FormatCommand(Command{Op: Set, Key: v.Key, Policy: v.Policy}.Config()))
		}
	}
	return lines
}

// Config returns the command of a Set.
func (c Command) Config() config.Command {
	return config.Command{Op: config.OpSetPolicy, Service: &config.Service{Key: c.Key}, Policy: c.Policy}
}
