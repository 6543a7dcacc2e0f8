package bench

import (
	"fmt"
	"math"
	"slices"
)

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

// twin returns the target that is measured twice: a second process on a lane of
// its own, which takes its turns as all others do. It is the null forwarder where
// there is one, since all others are compared with it, or a director.
func twin(targets []Target) Target {
	at := 0
	if i := slices.IndexFunc(targets, Target.ours); i >= 0 {
		at = i
	}
	if i := slices.IndexFunc(targets, func(t Target) bool { return t.Method == Null && t.Program == "" }); i >= 0 {
		at = i
	}
	t := targets[at]
	t.Again = true
	return t
}

// claims compares the twins.
func (r *Report) claims() []Claim {
	all := r.series()
	var claims []Claim
	for i := range all {
		again := &all[i]
		t := r.target(again.target)
		if !t.Again {
			continue
		}
		t.Again = false
		if one := find(all, t.String(), again); one != nil {
			ratio := estimate(ratios(again.byRound(), one.byRound()))
			claims = append(claims, Claim{Measure: again.name, Unit: again.unit, Target: t.String(), Ratio: ratio, Claim: ratio.reach()})
		}
	}
	return claims
}

// reach is how far from 1 the interval reaches. Fewer than three values have no
// interval worth the name: nothing can be claimed, which is 1.
func (e Estimate) reach() float64 {
	if e.N < 3 {
		return 1
	}
	return max(math.Abs(e.Lo-1), math.Abs(e.Hi-1))
}

// claim is the smallest difference of a measure that may be claimed, and whether
// an A/A run says so.
func (r *Report) claim(s *series) (float64, bool) {
	for _, c := range r.Claims {
		if c.Measure == s.name && c.Unit == s.unit {
			return c.Claim, true
		}
	}
	return 0, false
}

// find returns the series of a target that measures the same as another, or nil.
func find(all []series, target string, like *series) *series {
	i := slices.IndexFunc(all, func(s series) bool {
		return s.target == target && s.name == like.name && s.unit == like.unit
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}

// Beside is one measure of a target beside the same of the run's baseline.
type Beside struct {
	Baseline string `json:"baseline"`
	Change          // Old is the baseline's
}

// beside compares every target with its baseline.
func (r *Report) beside() []Beside {
	all := r.series()
	var rows []Beside
	for i := range all {
		s := &all[i]
		base := r.baseline(s, all)
		if base == nil || r.target(s.target).Again || len(s.values) < 2 {
			continue
		}
		c := base.change(s, r, r)
		c.Target = s.target
		c.paired(base, s)
		c.Verdict = c.judge()
		if r.invalid(s.target) {
			c.Verdict = Invalid
		}
		rows = append(rows, Beside{base.target, c})
	}
	return rows
}

// baseline is what a series is compared with: what the options named, or the
// null forwarder of the target's own port, or another balancer. It is nil for the
// baseline itself.
func (r *Report) baseline(s *series, all []series) *series {
	names := []string{r.floor(s.target)}
	for _, m := range []Method{HAProxy, DNAT, Route, Nginx} {
		names = append(names, Target{Method: m, Plain: r.target(s.target).Plain}.String())
	}
	for i := range r.Parts {
		if b := r.Parts[i].Baseline; b != "" {
			names = slices.Insert(names, 0, b)
		}
	}
	for _, n := range names {
		if n == s.target {
			return nil
		}
		if b := find(all, n, s); b != nil {
			return b
		}
	}
	return nil
}

// paired makes the ratio one of values of the same round: what disturbed a round
// as a whole then cancels.
func (c *Change) paired(old, fresh *series) {
	good, bad := fresh.byRound(), old.byRound()
	if old.less {
		good, bad = bad, good
	}
	if e := estimate(ratios(good, bad)); e.N > 0 {
		c.Better = e
	}
}

// invalid reports whether a target failed to forward rightly.
func (r *Report) invalid(target string) bool {
	return slices.Contains(r.Invalid(), target)
}

// ClaimText is the smallest claim in percent, or that there is none to make.
func (b *Beside) ClaimText() string {
	if b.Claim >= 1 {
		return "none"
	}
	return fmt.Sprintf("%.1f %%", 100*b.Claim)
}

// Invalid are the names of the targets that did not forward rightly.
func (r *Report) Invalid() []string {
	var all []string
	for _, trials := range [][]Trial{r.Gates, r.Trials} {
		for i := range trials {
			if t := &trials[i]; !t.Valid() && !slices.Contains(all, t.Target) {
				all = append(all, t.Target)
			}
		}
	}
	return all
}

func (r *Report) besideTable() table {
	t := table{title: "Beside the baseline", head: []string{"target", "measure", "value", "baseline", "value", "better by", "95 %", "p", "smallest claim", "verdict"}}
	for i := range r.Beside {
		b := &r.Beside[i]
		t.rows = append(t.rows, []string{b.Target, b.Measure, short(b.New), b.Baseline, short(b.Old),
			percentOf(b.Better.Median), fmt.Sprintf("[%s, %s]", percentOf(b.Better.Lo), percentOf(b.Better.Hi)),
			fmt.Sprintf("%.3f", b.P), b.ClaimText(), string(b.Verdict)})
	}
	return t
}

// claimLines say what the A/A run found, for a terminal.
func (r *Report) claimLines() []string {
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

// percentOf is a ratio as the percentage beyond 1.
func percentOf(v float64) string { return number(100*(v-1), "%+.1f %%") }

// short prints a value with four digits and the letter of its thousands.
func short(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v >= 1e9:
		return fmt.Sprintf("%.4gG", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
