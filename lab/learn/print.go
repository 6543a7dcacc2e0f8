package learn

import (
	"fmt"
	"io"
	"strings"

	"uvs/internal/lang"
)

// width is how many columns the texts of a lesson take.
const width = 78

// say writes a text with its arguments, in lines of the usual width.
func (s *Session) say(text lang.Text, args ...any) {
	fmt.Fprintln(s.Out, wrap(fmt.Sprintf(text.In(s.Lang), args...), width))
}

// introduce says what the lesson is about and what its lab looks like.
func (s *Session) introduce(first int) {
	l := s.Lesson
	fmt.Fprintf(s.Out, "%s\n%s\n\n", l.Title.In(s.Lang), strings.Repeat("=", columns(l.Title.In(s.Lang))))
	s.say(goalText, l.Goal.In(s.Lang))
	fmt.Fprintf(s.Out, "\n%s\n", indent(l.Picture))
	if ways := l.Ways.In(s.Lang); ways != "" {
		fmt.Fprintf(s.Out, "%s\n\n", wrap(ways, width))
	}
	if s.In == nil {
		return
	}
	s.say(howTo, s.LabName)
	if first > 0 {
		s.say(continued, first+1)
	}
}

// present writes a step: its task and what to type.
func (s *Session) present(i int) {
	st := &s.Lesson.Steps[i]
	fmt.Fprintf(s.Out, "\n-- %s --\n", fmt.Sprintf(stepHead.In(s.Lang), i+1, len(s.Lesson.Steps), st.Title.In(s.Lang)))
	fmt.Fprintf(s.Out, "%s\n\n", wrap(st.Task.In(s.Lang), width))
	if st.Own || s.In == nil {
		return
	}
	t := turn{Session: s, step: st}
	t.printLines()
	fmt.Fprintln(s.Out)
}

// printLines writes what is to be typed.
func (t *turn) printLines() {
	for _, line := range t.step.Type {
		fmt.Fprintf(t.Out, "    %s# %s\n", line.Node, line.Text)
	}
}

// question writes the step's question.
func (t *turn) question() {
	t.say(questionText, t.step.Ask.Text.In(t.Lang))
}

// praise says that the step is done, by what, and why it works.
func (t *turn) praise() {
	for i := range t.step.Checks {
		fmt.Fprintf(t.Out, "✓ %s\n", t.step.Checks[i].What.In(t.Lang))
	}
	if t.scene.note != "" {
		fmt.Fprintf(t.Out, "\n%s\n", strings.TrimRight(t.scene.note, "\n"))
	}
	if why := t.step.Why.In(t.Lang); why != "" {
		fmt.Fprintf(t.Out, "\n%s\n", wrap(why, width))
	}
}

// farewell is said when the last step was done.
func (s *Session) farewell() {
	s.say(finished, len(s.Lesson.Steps))
	all := Lessons()
	for i, l := range all[:len(all)-1] {
		if l == s.Lesson {
			s.say(nextLesson, all[i+1].Name)
		}
	}
}

// indent puts two columns before each line of a picture.
func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.Trim(text, "\n") + "\n") {
		if line != "\n" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// PrintList writes a line for each lesson, with what is done of it.
func PrintList(w io.Writer, all []Status, l lang.Tag) error {
	rows := [][]string{{say("LESSON", "课程").In(l), say("DONE", "进度").In(l), say("ABOUT", "内容").In(l)}}
	for i := range all {
		v := &all[i]
		state := fmt.Sprintf("%d/%d", v.Done, v.Total)
		if v.Done == v.Total {
			state = say("done", "完成").In(l)
		}
		about := v.Title.In(l)
		if v.Unreadable != "" {
			state = "-"
			about += fmt.Sprintf(say(" (unreadable: %s)", "（无法读取：%s）").In(l), v.Unreadable)
		}
		rows = append(rows, []string{v.Lesson, state, about})
	}
	return table(w, rows)
}

// table writes rows with columns that line up, also where characters are two columns wide.
func table(w io.Writer, rows [][]string) error {
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			wide[i] = max(wide[i], columns(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", wide[i]-columns(cell)+2))
			}
		}
		if _, err := fmt.Fprintln(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}
