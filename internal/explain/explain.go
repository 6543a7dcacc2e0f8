package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"uvs/forwarder/config"
)

// Explain completes a record to an explanation. back is that of the server's answer, if it
// passes the director.
func Explain(t config.Trace, back *config.Trace) config.Explanation {
	e := config.Explanation{Trace: t}
	e.Meaning, _ = Meaning(t.Verdict)
	e.Line = Line(&t)
	if back != nil {
		r := Explain(*back, nil)
		e.Reply = &r
	}
	return e
}

// Line says in one line what became of a packet: how it was decided, and where it went.
func Line(t *config.Trace) string {
	var parts []string
	for i := range t.Steps {
		if words := brief(&t.Steps[i]); words != "" {
			parts = append(parts, words)
		}
	}
	line := t.Packet + " " + t.Verdict
	if t.Server.IsValid() && t.Side == config.Request {
		line += " → " + t.Server.String()
	}
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	return line
}

// brief says the same as a step in a few words, "" if it is of little interest.
func brief(s *config.Step) string {
	switch s.Code {
	case "service-exact", "service-any-port", "service-mark", "service-ftp":
		return "service " + s.What
	case "service-none":
		return "no service"
	case "conn-hit":
		return s.Fields["state"] + " " + s.Fields["method"]
	case "template-hit":
		return "template"
	case "template-invalid":
		return "template of no use"
	case "answer":
		return "answers " + s.What
	case "mtu-fragment":
		return "in fragments"
	case "neigh-asking", "neigh-silent":
		return "no MAC address yet"
	case "tx":
		return s.Fields["interface"]
	}
	switch {
	case s.Pick != nil:
		return pickWords(s)
	case s.Stage == "synproxy", s.Stage == "policy", s.Stage == "input", s.Stage == "check":
		return s.What
	}
	return ""
}

// pickWords says which figure a scheduler chose.
func pickWords(s *config.Step) string {
	for _, c := range s.Pick.Candidates {
		if c.Server != s.Pick.Chosen {
			continue
		}
		if c.Figure != "" {
			return fmt.Sprintf("%s chose %s (%s)", s.Pick.Scheduler, c.Addr, c.Figure)
		}
		return fmt.Sprintf("%s chose %s", s.Pick.Scheduler, c.Addr)
	}
	return s.Pick.Scheduler + " chose none"
}

// DropsOf returns the drops by reason, those with frames only, the most frequent first.
// counters and lasts are by verdict.
func DropsOf(counters map[string]uint64, lasts map[string]config.Trace) []config.Drops {
	all := []config.Drops{}
	for _, m := range Meanings() {
		n := counters[m.Code]
		if n == 0 || !strings.HasPrefix(m.Code, "drop-") {
			continue
		}
		d := config.Drops{Meaning: m, Frames: n}
		if last, ok := lasts[m.Code]; ok {
			d.Last = &last
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b config.Drops) int { return cmp.Compare(b.Frames, a.Frames) })
	return all
}
