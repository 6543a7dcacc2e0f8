// Package trace prints what a director decided about a packet: a block with a line for
// each stage, the scheduler's arithmetic and the header fields that changed. The
// decisions themselves come from the director (package forwarder), as config.Trace; this
// package only formats them, for `uvs trace` and `uvs explain`.
package trace

import (
	"fmt"
	"io"
	"strings"

	"uvs/forwarder/config"
	"uvs/sched"
)

// Print writes the block of one packet.
func Print(w io.Writer, t config.Trace) error {
	var b strings.Builder
	fmt.Fprintf(&b, "#%d %s   %s   %s\n", t.Number, t.Packet, t.Verdict, micro(t.Took))
	for i, s := range t.Steps {
		fmt.Fprintf(&b, "%2d %-8s %s\n", i+1, s.Stage, fmt.Sprintf("%-56s +%s", what(s), micro(s.At)))
		if s.Pick != nil {
			candidates(&b, s.Pick)
		}
		for _, c := range s.Changes {
			change(&b, c)
		}
	}
	if t.Next != "" {
		fmt.Fprintf(&b, "next: %s.\n", t.Next)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func micro(ns uint64) string { return fmt.Sprintf("%.1f µs", float64(ns)/1000) }

func what(s config.Step) string {
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
