package sim

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Explain writes a pick with its arithmetic: the rule, then each candidate with the figure
// compared. * marks the chosen server, = one with the same figure that comes later in the
// list.
func Explain(w io.Writer, n int, p Pick) error {
	var b strings.Builder
	fmt.Fprintf(&b, "#%d %s %s: %s\n", n, p.At.Round(time.Millisecond), &p.Flow, chosen(p.Server))
	fmt.Fprintf(&b, "   %s: %s\n", p.Record.Scheduler, p.Record.Rule)
	width := 0
	for _, c := range p.Record.Candidates {
		width = max(width, len(c.Addr))
	}
	for _, c := range p.Record.Candidates {
		mark := ' '
		switch {
		case c.Server == p.Record.Chosen && c.Skip == "":
			mark = '*'
		case c.Tie:
			mark = '='
		}
		line := fmt.Sprintf(" %c %-*s  %s", mark, width, c.Addr, c.Figure)
		if c.Skip != "" {
			line += " (" + c.Skip + ")"
		}
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func chosen(server int) string {
	if server == 0 {
		return "no server"
	}
	return fmt.Sprint("server ", server)
}

// Picks writes the numbers of the picked servers, - for none, in lines of at most 72
// columns.
type Picks struct {
	line strings.Builder
	w    io.Writer
}

// NewPicks returns Picks that write to w.
func NewPicks(w io.Writer) *Picks { return &Picks{w: w} }

// Add adds a pick.
func (p *Picks) Add(server int) {
	text := "-"
	if server != 0 {
		text = fmt.Sprint(server)
	}
	if p.line.Len()+len(text)+1 > 72 {
		p.Flush()
	}
	if p.line.Len() > 0 {
		p.line.WriteByte(' ')
	}
	p.line.WriteString(text)
}

// Flush writes what is left.
func (p *Picks) Flush() {
	if p.line.Len() > 0 {
		fmt.Fprintln(p.w, p.line.String())
		p.line.Reset()
	}
}
