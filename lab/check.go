package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/lang"
)

// Check is one thing that a lab promises, and how to see whether it holds. Kind says what is
// done, and which of the other fields count: docs/lab.md has a table of them.
type Check struct {
	Name    string        `json:"name,omitempty"` // stable, in words joined by "-"; the kind if empty
	Kind    string        `json:"kind"`           // one of CheckKinds
	From    string        `json:"from,omitempty"` // the node that asks; the client if empty
	On      []string      `json:"on,omitempty"`   // the nodes that are looked at; the director if empty
	Get     string        `json:"get,omitempty"`  // a URL, "http://" may be missing; the VIP's if empty
	To      string        `json:"to,omitempty"`   // an address or a node; the VIP if empty
	Expect  []string      `json:"expect,omitempty"`
	Weights []int         `json:"weights,omitempty"` // of what is expected, in the same order
	Times   int           `json:"times,omitempty"`   // how often to ask
	Size    int           `json:"size,omitempty"`    // bytes
	Only    bool          `json:"only,omitempty"`    // nothing may be there but what is expected
	Through []string      `json:"through,omitempty"` // one of these nodes gets the packets
	Past    []string      `json:"past,omitempty"`    // none of these does
	Command Command       `json:"command,omitempty"`
	Within  time.Duration `json:"within,omitempty"` // how long one answer may take; 5 s if 0
	Hint    lang.Text     `json:"hint,omitzero"`    // what to look at if it does not hold
}

// CheckResult is what a check saw.
type CheckResult struct {
	Check    *Check
	OK       bool
	Seen     lang.Text
	Expected lang.Text
}

// Err returns an error with what was seen and what was expected, nil if the check holds.
func (r *CheckResult) Err() error {
	if r.OK {
		return nil
	}
	return fmt.Errorf("%s: seen %s; expected %s", r.Check.Name, r.Seen.EN, r.Expected.EN)
}

// within is how long one answer may take unless the check says otherwise.
const within = 5 * time.Second

// checkKind is something that a check can do.
type checkKind struct {
	needs []string // fields without which it says nothing
	do    func(*checkRun) (ok bool, seen, expected lang.Text)
}

// CheckKinds returns the kinds of checks in order.
func CheckKinds() []string { return slices.Sorted(maps.Keys(checkKinds())) }

func checkKinds() map[string]checkKind {
	return map[string]checkKind{
		"get":         {nil, (*checkRun).get},
		"alternate":   {[]string{"expect"}, (*checkRun).alternate},
		"shares":      {[]string{"expect", "weights"}, (*checkRun).shares},
		"same":        {nil, (*checkRun).same},
		"source":      {[]string{"expect"}, (*checkRun).source},
		"reply":       {nil, (*checkRun).reply},
		"arp":         {[]string{"expect"}, (*checkRun).arp},
		"ipvsadm":     {[]string{"expect"}, (*checkRun).ipvsadm},
		"connections": {[]string{"expect"}, (*checkRun).connections},
		"ping":        {nil, (*checkRun).ping},
		"sysctl":      {[]string{"on", "expect"}, (*checkRun).sysctl},
		"address":     {[]string{"on", "expect"}, (*checkRun).address},
		"gateway":     {[]string{"on", "expect"}, (*checkRun).gateway},
		"mtu":         {[]string{"on"}, (*checkRun).mtu},
		"command":     {[]string{"on", "command"}, (*checkRun).command},
		"takeover":    {nil, (*checkRun).takeover},
	}
}

// checkRun is a check that is being done.
type checkRun struct {
	*Check
	ctx context.Context
	lab *Lab
}

// Run does the check in a running lab. It sends what clients send and changes nothing, but for
// the kind takeover, which fails both directors one after the other and brings them back.
func (c *Check) Run(ctx context.Context, l *Lab) CheckResult {
	full := c.complete(&l.Topology)
	if err := full.valid(&l.Topology); err != nil {
		return CheckResult{Check: &full, Seen: plain(err.Error()), Expected: lang.Textf("a check of this lab", "本实验环境的检查项")}
	}
	ok, seen, expected := checkKinds()[c.Kind].do(&checkRun{&full, ctx, l})
	return CheckResult{Check: &full, OK: ok, Seen: seen, Expected: expected}
}

// complete returns the check with what its empty fields mean.
func (c *Check) complete(t *Topology) Check {
	full := *c
	if full.Name == "" {
		full.Name = full.Kind
	}
	if full.From == "" {
		full.From = t.named(Client)
	}
	if len(full.On) == 0 && !slices.Contains(checkKinds()[c.Kind].needs, "on") {
		full.On = []string{t.named(Director)}
	}
	if full.Get == "" {
		full.Get = t.URL("/")
	}
	if !strings.Contains(full.Get, "://") {
		full.Get = "http://" + full.Get
	}
	if full.To == "" {
		full.To = t.VIP.String()
	}
	if full.Within == 0 {
		full.Within = within
	}
	return full
}

// named returns the name of the first node of a role, or the role's own.
func (t *Topology) named(r Role) string {
	if n := t.byRole(r); n != nil {
		return n.Name
	}
	return string(r)
}

// Valid reports what is wrong with the check as one of a topology.
func (c *Check) Valid(t *Topology) error {
	full := c.complete(t)
	return full.valid(t)
}

// valid reports what is wrong with a complete check.
func (c *Check) valid(t *Topology) error {
	kind, known := checkKinds()[c.Kind]
	if !known {
		return fmt.Errorf("check %s: there is no kind %q, there are %s", c.Name, c.Kind, strings.Join(CheckKinds(), ", "))
	}
	for _, field := range kind.needs {
		if c.lacks(field) {
			return fmt.Errorf("check %s: %s needs %q", c.Name, c.Kind, field)
		}
	}
	if len(c.Weights) > 0 && (len(c.Weights) != len(c.Expect) || slices.Min(c.Weights) < 0 || slices.Max(c.Weights) == 0) {
		return fmt.Errorf("check %s: there has to be a weight from 0 for each that is expected, and one above 0", c.Name)
	}
	if c.Times < 0 || c.Size < 0 || c.Within < 0 {
		return fmt.Errorf("check %s: times, size and within cannot be negative", c.Name)
	}
	if u, err := url.Parse(c.Get); err != nil || u.Host == "" {
		return fmt.Errorf("check %s: %q is not a URL", c.Name, c.Get)
	}
	for _, name := range slices.Concat([]string{c.From}, c.On, c.Through, c.Past) {
		if t.Node(name) == nil {
			return fmt.Errorf("check %s: there is no node %q", c.Name, name)
		}
	}
	return nil
}

// lacks reports whether a field is empty.
func (c *Check) lacks(field string) bool {
	return map[string]bool{
		"expect": len(c.Expect) == 0, "weights": len(c.Weights) == 0, "on": len(c.On) == 0, "command": len(c.Command) == 0,
	}[field]
}

// checkChecks reports what is wrong with the topology's checks. Names have to differ.
func (t *Topology) checkChecks() error {
	seen := map[string]bool{}
	for i := range t.Checks {
		c := t.Checks[i].complete(t)
		if err := c.valid(t); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		if seen[c.Name] {
			return fmt.Errorf("lab: two checks are called %q", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// plain returns a text that is the same in both languages.
func plain(text string) lang.Text { return lang.Text{EN: text, ZH: text} }

// failure says in plain words why a request was not answered.
func (r *checkRun) failure(err error) lang.Text {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return lang.Textf("connection refused", "连接被拒绝")
	case errors.Is(err, unix.ECONNRESET):
		return lang.Textf("connection reset", "连接被重置")
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return lang.Textf("no route to the host", "主机不可达")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return lang.Textf("no answer within %v", "%v 内没有应答", r.Within)
	}
	return plain(err.Error())
}

// target returns the address and port of the check's URL.
func (r *checkRun) target() (netip.AddrPort, error) {
	u, err := url.Parse(r.Get)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return netip.ParseAddrPort(net.JoinHostPort(u.Hostname(), port))
}
