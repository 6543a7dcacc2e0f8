// Package explain puts into words what a director decided about packets: a block with a
// line for each stage, the scheduler's arithmetic and the header fields that changed, or one
// line; and for each verdict what it means, what causes it and what to do about it. The
// decisions themselves come from the director (package forwarder), as config.Trace; this
// package only words them, for the API, `uvs trace`, `uvs explain` and `uvs drops`.
package explain

import (
	"fmt"
	"io"
	"strings"

	"uvs/forwarder/config"
	"uvs/sched"
)

// Print writes the block of one packet.
func Print(w io.Writer, t config.Trace) error {
	_, err := io.WriteString(w, Block(t))
	return err
}

// Block returns the block of one packet. That of a dry run has no times, for they would be
// those of the dry run.
func Block(t config.Trace) string {
	var b strings.Builder
	if t.Missed > 0 {
		fmt.Fprintf(&b, "(%d packets before this one were missed)\n", t.Missed)
	}
	if t.Number == 0 {
		fmt.Fprintf(&b, "%s   %s\n", t.Packet, t.Verdict)
	} else {
		fmt.Fprintf(&b, "#%d %s   %s   %s\n", t.Number, t.Packet, t.Verdict, micro(t.Took))
	}
	for i, s := range t.Steps {
		step(&b, i+1, &s, t.Number != 0)
	}
	if t.Next != "" {
		fmt.Fprintf(&b, "next: %s.\n", t.Next)
	}
	return b.String()
}

// Arithmetic returns what the scheduler compared for a packet, without the columns that
// stand before it in the block; empty if no scheduler was asked.
func Arithmetic(t config.Trace) string {
	var b strings.Builder
	for i := range t.Steps {
		s := &t.Steps[i]
		if s.Pick == nil {
			continue
		}
		fmt.Fprintln(&b, what(s))
		candidates(&b, s.Pick)
	}
	return strings.ReplaceAll(b.String(), "\n"+strings.Repeat(" ", 12), "\n  ")
}

func step(b *strings.Builder, number int, s *config.Step, timed bool) {
	if timed {
		fmt.Fprintf(b, "%2d %-8s %s\n", number, s.Stage, fmt.Sprintf("%-56s +%s", what(s), micro(s.At)))
	} else {
		fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("%2d %-8s %s", number, s.Stage, what(s)), " "))
	}
	for _, n := range s.Notes {
		fmt.Fprintf(b, "            · %s\n", n)
	}
	if s.Pick != nil {
		candidates(b, s.Pick)
	}
	for _, c := range s.Changes {
		change(b, c)
	}
}

// PrintExplanation writes the block of a packet with what its verdict means, and that of
// the server's answer.
func PrintExplanation(w io.Writer, e *config.Explanation) error {
	var b strings.Builder
	b.WriteString(Block(e.Trace))
	if e.Meaning.Code != "" && e.Verdict != "forward" {
		b.WriteString(meaning(&e.Meaning))
	}
	if e.Reply != nil {
		fmt.Fprintf(&b, "\nThe server's answer:\n")
		b.WriteString(Block(e.Reply.Trace))
		if e.Reply.Verdict != "forward" {
			b.WriteString(meaning(&e.Reply.Meaning))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// PrintMeaning writes what a verdict means.
func PrintMeaning(w io.Writer, m *config.Meaning) error {
	_, err := io.WriteString(w, meaning(m))
	return err
}

func meaning(m *config.Meaning) string {
	return fmt.Sprintf("%s: %s.\ncause    %s\nmistake  %s\nfix      %s\n", m.Code, strings.TrimSuffix(m.Means, "."), m.Cause, m.Mistake, m.Fix)
}

func micro(ns uint64) string { return fmt.Sprintf("%.1f µs", float64(ns)/1000) }

func what(s *config.Step) string {
	if s.Pick != nil {
		return s.Pick.Scheduler + ": " + s.Pick.Rule
	}
	return s.What
}

// candidates writes the servers a scheduler looked at; > marks the one chosen.
func candidates(b *strings.Builder, r *sched.Record) {
	width := 0
	for _, c := range r.Candidates {
		width = max(width, len(c.Addr))
	}
	for _, c := range r.Candidates {
		mark, note := ' ', ""
		switch {
		case c.Server == r.Chosen:
			mark, note = '>', "   chosen"
		case c.Skip != "":
			note = "   skipped: " + c.Skip
		case c.Tie:
			note = "   the same, but later in the list"
		}
		fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("            %c %-*s  %s%s", mark, width, c.Addr, c.Figure, note), " "))
	}
	if r.Chosen == 0 {
		fmt.Fprintln(b, "              no server can take it")
	}
}

// change writes a header field before and after.
func change(b *strings.Builder, c config.Change) {
	line := fmt.Sprintf("            %-10s %-24s → %s", c.Field, c.Before, c.After)
	switch {
	case c.Before == c.After:
		line = fmt.Sprintf("            %-10s %-24s = same", c.Field, c.Before)
	case c.Before == "":
		line = fmt.Sprintf("            %-10s %-24s   %s", c.Field, "added", c.After)
	}
	if c.Note != "" {
		line += "   ← " + c.Note
	}
	fmt.Fprintln(b, line)
}
