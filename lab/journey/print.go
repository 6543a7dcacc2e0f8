package journey

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Printer writes journeys for a person: a line for each, and what its nodes changed where it
// differs from what was said of the connection before.
type Printer struct {
	w      io.Writer
	colour bool
	first  time.Time
	said   map[said]bool
}

// said is what was told already.
type said struct {
	connection int
	from       string
	change     Change
}

// NewPrinter returns a printer, with the colours of a terminal or without.
func NewPrinter(w io.Writer, colour bool) *Printer {
	return &Printer{w: w, colour: colour, said: map[said]bool{}}
}

// Sequences that choose a colour on a terminal (ECMA-48, SGR).
const (
	plain = "\x1b[0m"
	bold  = "\x1b[1m"
	faint = "\x1b[2m"
	red   = "\x1b[31m"
)

// hues tell connections apart.
var hues = []string{"\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m"}

func (p *Printer) paint(text, sequence string) string {
	if !p.colour || text == "" {
		return text
	}
	return sequence + text + plain
}

// Print writes a journey.
func (p *Printer) Print(j *Journey) error {
	if p.first.IsZero() {
		p.first = j.Began
	}
	var b strings.Builder
	name, hue := "", faint
	if j.Connection > 0 {
		name, hue = fmt.Sprintf("#%d", j.Connection), hues[(j.Connection-1)%len(hues)]
	}
	way := fmt.Sprintf("%-40s", way(j))
	if j.Lost != "" {
		way = p.paint(way, red)
	} else {
		way = p.paint(way, bold)
	}
	fmt.Fprintf(&b, "%s %+12.3f ms  %s  %s%s\n", p.paint(fmt.Sprintf("%-4s", name), hue), j.Began.Sub(p.first).Seconds()*1000, way,
		p.paint(j.Packet, hue), p.paint(remarks(j), faint))
	for _, c := range j.Changes {
		s := said{j.Connection, j.Way[0], c}
		if j.Connection > 0 && p.said[s] {
			continue
		}
		p.said[s] = true
		fmt.Fprintf(&b, "%23s%s\n", "", p.paint(c.Node+": "+c.What, faint))
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// way writes the nodes of a journey.
func way(j *Journey) string {
	text := strings.Join(j.Way, " → ")
	if j.Hops[0].Direction == "in" {
		text = "… → " + text
	}
	if len(j.To) > 1 || len(j.To) == 1 && j.To[0] != j.Way[len(j.Way)-1] {
		text += " → " + strings.Join(j.To, ", ")
	}
	if j.Lost != "" {
		text += " ✗ " + j.Lost
	}
	return text
}

// remarks tells what is unusual about a journey, and how long it took.
func remarks(j *Journey) string {
	var all []string
	switch {
	case j.Lost != "":
		all = append(all, "lost on the way to "+j.Lost)
	case j.Copy:
		all = append(all, "delivered twice")
	case j.Joined:
		all = append(all, "joined to the segment before")
	}
	if t := j.took(); t > 0 {
		all = append(all, fmt.Sprintf("%.3f ms", t.Seconds()*1000))
	}
	if len(all) == 0 {
		return ""
	}
	return "  (" + strings.Join(all, ", ") + ")"
}
