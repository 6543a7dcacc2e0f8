// Package rules reads and writes the rules file of a director and finds the commands
// that turn one configuration into another.
//
// A rules file is text, one ipvsadm command a line: the output of `ipvsadm -S` and
// `ipvsadm-save` is one, with names or with -n. Blank lines and lines that begin with
// "#" are ignored. Format writes the lossless form: it has the thresholds that -S
// omits, FULLNAT's local addresses (--add-laddr), netmasks and engines of services that
// are not persistent, unsigned marks, the timeouts (--set), the synchronization daemons
// (--start-daemon), the parameters under net.ipv4.vs that are not at their default
// ("sysctl NAME=VALUE"), the rules that give packets firewall marks ("mark -A …", see
// package mark), and of services the policies ("policy -t …", see package policy), SYN
// proxies (package synproxy), roles of their addresses (package viprole) and checks
// ("check add -t …", package check).
//
// Timeouts, daemons and marks in a file replace the director's; if a file does not
// mention them, or a parameter, they stay as they are.
//
// The package does not know the engine: Parse tries commands on a Table, and Apply works
// on a Director. Values are not safe for concurrent use.
package rules

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"uvs/forwarder/config"
	"uvs/internal/check"
	"uvs/internal/ipvsadm"
	"uvs/internal/mark"
	"uvs/internal/policy"
	"uvs/internal/synproxy"
	"uvs/internal/viprole"
)

// Rules are the configuration of a director.
type Rules struct {
	Services []Service       // in the order of addition
	Timeouts config.Timeouts // 0: not mentioned
	Daemons  []config.Daemon // none: not mentioned
	// Marks are the rules that give packets firewall marks, in order; nil: not
	// mentioned, which is different from none.
	Marks []config.MarkRule
	// Sysctls are the parameters that are mentioned.
	Sysctls []config.Sysctl
}

// Service is a virtual service with its real servers.
type Service struct {
	config.Service
	Servers []config.Server // in the order of addition
}

// ServicesOf returns the configuration in a director's report.
func ServicesOf(states []config.ServiceState) []Service {
	all := make([]Service, len(states))
	for i, state := range states {
		all[i].Service = state.Service
		for _, server := range state.Servers {
			all[i].Servers = append(all[i].Servers, server.Server)
		}
	}
	return all
}

// Table is where a file's settings are tried: a new director's table of services
// and its parameters, which forward nothing.
type Table interface {
	// Apply runs commands in order and returns an error or nil for each.
	Apply(commands []config.Command, atomic bool) []error
	// Services returns the services in the order of addition.
	Services() []config.ServiceState
	// SetSysctl sets a parameter by its name below net.ipv4.vs. A bad value gives a
	// config.FieldError.
	SetSysctl(name, value string) error
}

// Parse reads a rules file as IPVS would: commands act in order, on a table that is
// new. A setting that the table refuses is an error, which names the line.
func Parse(r io.Reader, names ipvsadm.Names, table Table) (*Rules, error) {
	p := &parser{table: table}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if err := p.line(lines.Text(), names); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if err := p.run(); err != nil {
		return nil, err
	}
	p.rules.Services = ServicesOf(p.table.Services())
	return &p.rules, nil
}

// parser collects the commands of a file and runs them on a table.
type parser struct {
	rules    Rules
	table    Table
	commands []config.Command
	numbers  []int // the line of each command
	at       int
}

func (p *parser) line(text string, names ipvsadm.Names) error {
	p.at++
	if strings.HasPrefix(strings.TrimSpace(text), "#") {
		return nil
	}
	if words := strings.Fields(text); len(words) > 0 && words[0] == "mark" {
		return p.mark(words[1:])
	} else if len(words) > 0 && words[0] == "sysctl" {
		return p.sysctl(words[1:])
	} else if len(words) > 0 && words[0] == "policy" {
		return p.policy(words[1:], names)
	} else if len(words) > 0 && words[0] == "synproxy" {
		return p.synProxy(words[1:], names)
	} else if len(words) > 0 && words[0] == "vip" {
		return p.vipRole(words[1:], names)
	} else if len(words) > 0 && words[0] == "check" {
		return p.check(words[1:], names)
	}
	rule, err := ipvsadm.ParseRule(text, names)
	switch {
	case err != nil:
		return err
	case rule == nil:
	case rule.Command != nil:
		p.commands = append(p.commands, *rule.Command)
		p.numbers = append(p.numbers, p.at)
	case rule.Timeouts != nil:
		p.set(*rule.Timeouts)
	default:
		return p.start(*rule.Daemon)
	}
	return nil
}

// mark adds a rule for firewall marks, or removes those before it.
func (p *parser) mark(words []string) error {
	c, err := mark.Parse(words)
	if err != nil {
		return err
	}
	switch c.Op {
	case mark.Append:
		p.rules.Marks = append(p.rules.Marks, c.Rules...)
	case mark.Flush:
		p.rules.Marks = []config.MarkRule{}
	default:
		return fmt.Errorf("of mark a rules file has -A and -F only")
	}
	return nil
}

// policy adds the policy of a service.
func (p *parser) policy(words []string, names ipvsadm.Names) error {
	c, err := policy.Parse(words, names)
	if err != nil {
		return err
	}
	if c.Op != policy.Set {
		return fmt.Errorf("a policy is set like policy -t 10.0.0.1:80 --gone reset")
	}
	p.commands = append(p.commands, c.Config())
	p.numbers = append(p.numbers, p.at)
	return nil
}

// check adds a check to a service.
func (p *parser) check(words []string, names ipvsadm.Names) error {
	c, err := check.Parse(words, names)
	if err != nil {
		return err
	}
	if c.Op != check.Add {
		return fmt.Errorf("a check is added like check add -t 10.0.0.1:80 --http /health")
	}
	p.commands = append(p.commands, c.Config())
	p.numbers = append(p.numbers, p.at)
	return nil
}

// synProxy sets the SYN proxy of a service.
func (p *parser) synProxy(words []string, names ipvsadm.Names) error {
	c, err := synproxy.Parse(words, names)
	if err != nil {
		return err
	}
	if c.Op != synproxy.Set {
		return fmt.Errorf("a SYN proxy is set like synproxy -t 10.0.0.1:80 on")
	}
	p.commands = append(p.commands, c.Config())
	p.numbers = append(p.numbers, p.at)
	return nil
}

// vipRole adds the role of a service's virtual address.
func (p *parser) vipRole(words []string, names ipvsadm.Names) error {
	c, err := viprole.Parse(words, names)
	if err != nil {
		return err
	}
	if c.Op != viprole.Set {
		return fmt.Errorf("the role of a virtual address is set like vip -t 10.0.0.1:80 host")
	}
	p.commands = append(p.commands, c.Config())
	p.numbers = append(p.numbers, p.at)
	return nil
}

// vs is the prefix of a director's parameters.
const vs = "net.ipv4.vs."

func (p *parser) sysctl(words []string) error {
	name, value, ok := strings.Cut(strings.Join(words, ""), "=")
	name, ours := strings.CutPrefix(strings.ReplaceAll(name, "/", "."), vs)
	if !ok || !ours || name == "" || value == "" {
		return fmt.Errorf("a parameter is set like %sNAME=VALUE", vs)
	}
	var wrong *config.FieldError
	if err := p.table.SetSysctl(name, value); errors.As(err, &wrong) {
		return errors.New(wrong.Problem)
	}
	p.rules.Sysctls = append(p.rules.Sysctls, config.Sysctl{Name: name, Value: value})
	return nil
}

// set stores the timeouts that are not 0.
func (p *parser) set(t config.Timeouts) {
	into := &p.rules.Timeouts
	for _, v := range []struct {
		to   *uint32
		from uint32
	}{{&into.TCP, t.TCP}, {&into.TCPFin, t.TCPFin}, {&into.UDP, t.UDP}} {
		if v.from != 0 {
			*v.to = v.from
		}
	}
}

func (p *parser) start(d config.Daemon) error {
	for _, other := range p.rules.Daemons {
		if other.State == d.State {
			return fmt.Errorf("a second %s daemon", d.State)
		}
	}
	p.rules.Daemons = append(p.rules.Daemons, d)
	return nil
}

func (p *parser) run() error {
	for i, err := range p.table.Apply(p.commands, false) {
		if err != nil {
			return fmt.Errorf("line %d: %w", p.numbers[i], err)
		}
	}
	return nil
}

// Format writes the rules in the lossless form, ready for Parse.
func Format(w io.Writer, r *Rules) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "# Rules of a uvs director (docs/rules.md)")
	if r.Timeouts != (config.Timeouts{}) {
		fmt.Fprintln(out, ipvsadm.FormatTimeouts(r.Timeouts))
	}
	for _, v := range r.Sysctls {
		if v.Value != v.Default {
			fmt.Fprintln(out, formatSysctl(v))
		}
	}
	for _, d := range r.Daemons {
		fmt.Fprintln(out, ipvsadm.FormatDaemon(d))
	}
	if r.Marks != nil {
		for _, line := range mark.Lines(r.Marks) {
			fmt.Fprintln(out, line)
		}
	}
	for _, c := range add(nil, r.Services) {
		fmt.Fprintln(out, ipvsadm.FormatCommand(c))
	}
	return out.Flush()
}

func formatSysctl(v config.Sysctl) string { return "sysctl " + vs + v.Name + "=" + v.Value }
