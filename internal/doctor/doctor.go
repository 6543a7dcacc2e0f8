// Package doctor finds what is wrong around a director: in its configuration, on its
// host, in a few seconds of packets, and, in a lab, on every node.
//
// [Collect] reads the facts of one host, as plain data that can be sent as JSON: a lab's
// nodes collect theirs by themselves. [Diagnose] draws the conclusions from the facts of
// one or several hosts, and touches nothing. Each conclusion is a [Finding] with a stable
// [Code], which docs/doctor.md explains.
package doctor

import (
	"cmp"
	"slices"
	"strings"

	"uvs/lab"
)

// Severity says how bad a finding is.
type Severity string

// Severities. An error keeps packets from arriving; a warning may.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Fix is a command that mends a finding.
type Fix struct {
	On      string `json:"on,omitempty"` // the host to type it on; empty: where the doctor ran
	Command string `json:"command"`
}

// Finding is a mistake that was found.
type Finding struct {
	Code     string   `json:"code"` // stable, such as LVS004
	Name     string   `json:"name"` // the code as a word, such as arp-conflict
	Severity Severity `json:"severity"`
	Host     string   `json:"host,omitempty"` // where the mistake is
	Summary  string   `json:"summary"`
	Evidence []string `json:"evidence"` // packets counted, addresses, lines of the configuration
	Why      string   `json:"why"`
	Fix      []Fix    `json:"fix"`  // in the order they are to be typed
	Page     string   `json:"page"` // section of docs/doctor.md

	guess bool // concluded from what was not seen: anything that was seen explains it better
}

// Report is what the doctor says.
type Report struct {
	Findings []Finding `json:"findings"` // the likeliest cause first
	Checks   int       `json:"checks"`   // how many kinds of mistakes were looked for
	// Unseen lists what could not be looked at, and why.
	Unseen []string `json:"unseen,omitempty"`
}

// Status returns the exit status of the doctor: 0 without findings, 1 for warnings, 2 if
// there is an error.
func (r *Report) Status() int {
	status := 0
	for i := range r.Findings {
		if r.Findings[i].Severity == Error {
			return 2
		}
		status = 1
	}
	return status
}

// Scene is what Diagnose judges: the facts of the director's host, and of others if it is
// in a lab.
type Scene struct {
	Hosts []*Host
	// Lab is the lab's plan, nil outside a lab.
	Lab     *lab.Topology
	LabName string
}

// checks are all that Diagnose asks, each about one kind of mistake or a few related ones.
var checks []func(*Scene) []Finding

// Diagnose returns what is wrong in the scene, the likeliest cause first.
func Diagnose(s *Scene) Report {
	r := Report{Findings: []Finding{}, Checks: len(Codes)}
	for _, check := range checks {
		r.Findings = append(r.Findings, check(s)...)
	}
	r.Findings = withoutConsequences(merged(r.Findings))
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(rank(a.Code), rank(b.Code)))
	})
	for _, h := range s.Hosts {
		for _, u := range h.Unseen {
			r.Unseen = append(r.Unseen, strings.TrimPrefix(h.Name+": ", ": ")+u)
		}
	}
	return r
}

// merged joins findings of several checks about one mistake of one host. The first says how
// to mend it.
func merged(all []Finding) []Finding {
	out := []Finding{}
	for _, f := range all {
		i := slices.IndexFunc(out, func(o Finding) bool { return o.Code == f.Code && o.Host == f.Host && o.Severity == f.Severity })
		if i < 0 {
			out = append(out, f)
			continue
		}
		out[i].Evidence = append(out[i].Evidence, f.Evidence...)
		for _, x := range f.Fix {
			if len(out[i].Fix) == 0 || out[i].Fix[0].On == x.On && !slices.Contains(out[i].Fix, x) {
				out[i].Fix = append(out[i].Fix, x)
			}
		}
	}
	return out
}

// withoutConsequences leaves out the findings that another finding explains.
func withoutConsequences(all []Finding) []Finding {
	down, certain := map[string]bool{}, map[string]bool{}
	noDirector, sure := false, false
	for _, f := range all {
		certain[f.Code] = certain[f.Code] || f.Severity == Error
		down[f.Host] = down[f.Host] || f.Code == LinkDown
		noDirector = noDirector || f.Code == NoDirector
		sure = sure || f.Severity == Error && !f.guess
	}
	return slices.DeleteFunc(all, func(f Finding) bool {
		if f.guess && sure {
			return true
		}
		switch f.Code {
		case NoReturn, SameSubnet, MTU, NoForwarding:
			return down[f.Host]
		case RulesLost:
			return noDirector
		}
		return f.Severity == Warning && certain[f.Code] // the same, seen less clearly
	})
}

// find returns a finding with what its code says about it.
func find(code string, severity Severity, host *Host, summary string, evidence ...string) Finding {
	c := codeOf(code)
	return Finding{
		Code: code, Name: c.Name, Severity: severity, Host: host.Name,
		Summary: summary, Evidence: evidence, Why: c.Why.EN, Fix: []Fix{},
		Page: Page(code),
	}
}

// fixed adds commands to type on a host.
func (f Finding) fixed(on string, commands ...string) Finding {
	for _, c := range commands {
		f.Fix = append(f.Fix, Fix{On: on, Command: c})
	}
	return f
}

// Same reports whether two lists of findings are about the same mistakes of the same hosts,
// whatever was counted.
func Same(a, b []Finding) bool {
	return slices.EqualFunc(a, b, func(x, y Finding) bool {
		return x.Code == y.Code && x.Host == y.Host && x.Summary == y.Summary
	})
}
