package report

import (
	"fmt"
	"slices"

	"uvs/bench/load"
)

// Results are a run with the values that were measured: what comparisons are made
// of.
type Results struct {
	*Run
	Series  []Series
	Invalid []string // targets that did not forward rightly
}

// Judge makes the claims of the A/A run and the comparisons with the baseline.
func (r *Results) Judge() {
	r.Claims = r.claims() // no comparison claims less
	r.Comparisons = r.comparisons()
}

// Claim is the smallest relative difference of one measure that a run can claim:
// how far from 1 the 95 % interval of a target's ratio to itself reaches (A/A).
type Claim struct {
	Measure string   `json:"measure"`
	Unit    string   `json:"unit"`
	Target  string   `json:"target"`
	Ratio   Estimate `json:"ratio"`
	Claim   float64  `json:"claim"`
}

// String is "64B/1000/cpu ns/pkt ± 1.9 %".
func (c Claim) String() string {
	if c.Claim >= 1 {
		return fmt.Sprintf("%s %s nothing", c.Measure, c.Unit)
	}
	return fmt.Sprintf("%s %s ± %.1f %%", c.Measure, c.Unit, 100*c.Claim)
}

// claims compares the target that was measured twice with itself.
func (r *Results) claims() []Claim {
	var claims []Claim
	for i := range r.Series {
		again := &r.Series[i]
		t := r.Target(again.Target)
		if !t.Again {
			continue
		}
		t.Again = false
		if one := find(r.Series, t.String(), again); one != nil {
			ratio := NewEstimate(Ratios(again.byRound(), one.byRound()))
			claims = append(claims, Claim{Measure: again.Name, Unit: again.Unit, Target: t.String(), Ratio: ratio, Claim: ratio.reach()})
		}
	}
	return claims
}

// claim is the smallest difference of a measure that may be claimed, and whether
// an A/A run says so.
func (r *Run) claim(s *Series) (float64, bool) {
	for _, c := range r.Claims {
		if c.Measure == s.Name && c.Unit == s.Unit {
			return c.Claim, true
		}
	}
	return 0, false
}

// Comparison is one measure of a target beside the same of the run's baseline.
type Comparison struct {
	Baseline string `json:"baseline"`
	Change          // Old is the baseline's
}

// comparisons compares every target with its baseline.
func (r *Results) comparisons() []Comparison {
	var rows []Comparison
	for i := range r.Series {
		s := &r.Series[i]
		base := r.baseline(s)
		if base == nil || r.Target(s.Target).Again || len(s.Values) < 2 {
			continue
		}
		c := base.change(s, r.Run, r.Run)
		c.Target = s.Target
		c.paired(base, s)
		c.Verdict = c.judge()
		if r.invalid(s.Target) {
			c.Verdict = Invalid
		}
		rows = append(rows, Comparison{base.Target, c})
	}
	return rows
}

// baseline is what a series is compared with: what the options named, or the
// null forwarder of the target's own port, or another balancer. It is nil for the
// baseline itself.
func (r *Results) baseline(s *Series) *Series {
	names := []string{r.Null(s.Target)}
	for _, m := range []load.Method{load.HAProxy, load.DNAT, load.Route, load.Nginx} {
		names = append(names, load.Target{Method: m, Plain: r.Target(s.Target).Plain}.String())
	}
	for i := range r.Parts {
		if b := r.Parts[i].Baseline; b != "" {
			names = slices.Insert(names, 0, b)
		}
	}
	for _, n := range names {
		if n == s.Target {
			return nil
		}
		if b := find(r.Series, n, s); b != nil {
			return b
		}
	}
	return nil
}

// paired makes the ratio one of values of the same round: what disturbed a round
// as a whole then cancels.
func (c *Change) paired(old, fresh *Series) {
	good, bad := fresh.byRound(), old.byRound()
	if old.Less {
		good, bad = bad, good
	}
	if e := NewEstimate(Ratios(good, bad)); e.N > 0 {
		c.Better = e
	}
}

// invalid reports whether a target failed to forward rightly.
func (r *Results) invalid(target string) bool { return slices.Contains(r.Invalid, target) }

// ClaimText is the smallest claim in percent, or that there is none to make.
func (c *Comparison) ClaimText() string {
	if c.Claim >= 1 {
		return "none"
	}
	return fmt.Sprintf("%.1f %%", 100*c.Claim)
}

func (r *Run) baselineTable() Table {
	t := Table{Title: "Beside the baseline", Head: []string{"target", "measure", "value", "baseline", "value", "better by", "95 %", "p", "smallest claim", "verdict"}}
	for i := range r.Comparisons {
		c := &r.Comparisons[i]
		t.Rows = append(t.Rows, []string{c.Target, c.Measure, Short(c.New), c.Baseline, Short(c.Old),
			percentOf(c.Better.Median), fmt.Sprintf("[%s, %s]", percentOf(c.Better.Lo), percentOf(c.Better.Hi)),
			fmt.Sprintf("%.3f", c.P), c.ClaimText(), string(c.Verdict)})
	}
	return t
}

// claimLines say what the A/A run found, for a terminal.
func (r *Run) claimLines() []string {
	by := map[string]string{}
	var order []string
	for _, c := range r.Claims {
		if by[c.Target] == "" {
			order = append(order, c.Target)
		} else {
			by[c.Target] += ", "
		}
		by[c.Target] += c.String()
	}
	for i, t := range order {
		order[i] = fmt.Sprintf("A/A: %s beside itself: %s; nothing smaller is claimed", t, by[t])
	}
	return order
}
