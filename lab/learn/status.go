package learn

import (
	"fmt"
	"io"
	"strings"
	"time"

	"uvs/internal/lang"
)

// Status says how far a student is in a lesson.
type Status struct {
	Lesson string       `json:"lesson"`
	Title  lang.Text    `json:"title"`
	Done   int          `json:"done"`
	Total  int          `json:"total"`
	Steps  []StepStatus `json:"steps"`

	Unreadable string `json:"unreadable,omitempty"` // why it is not known what was done
}

// StepStatus says whether a step was done, when, and by whom.
type StepStatus struct {
	Step  string    `json:"step"`
	Title lang.Text `json:"title"`
	Done  bool      `json:"done"`
	By    By        `json:"by,omitempty"`
	Ended time.Time `json:"ended,omitzero"`
	Tries int       `json:"tries,omitempty"`
	Hints int       `json:"hints,omitempty"`
}

// StatusOf returns how far the student is in a lesson.
func (s *Store) StatusOf(l *Lesson) (Status, error) {
	p, err := s.Load(l.Name)
	if err != nil {
		return Status{}, err
	}
	return p.status(l), nil
}

// status says how far this is in a lesson.
func (p *Progress) status(l *Lesson) Status {
	v := Status{Lesson: l.Name, Title: l.Title, Done: p.Count(l), Total: len(l.Steps)}
	for i := range l.Steps {
		st := StepStatus{Step: l.Steps[i].Name, Title: l.Steps[i].Title}
		if d, ok := p.Of(st.Step); ok {
			st.Done, st.By, st.Ended, st.Tries, st.Hints = true, d.By, d.Ended, d.Tries, d.Hints
		}
		v.Steps = append(v.Steps, st)
	}
	return v
}

// Status returns how far the student is in each lesson. A lesson whose file cannot be read has
// no step done, and says why.
func (s *Store) Status() (all []Status) {
	for _, l := range Lessons() {
		v, err := s.StatusOf(l)
		if err != nil {
			v = newProgress(l.Name, time.Time{}).status(l)
			v.Unreadable = strings.TrimPrefix(err.Error(), "learn: ")
		}
		all = append(all, v)
	}
	return all
}

// byWords say who did a step.
var byWords = map[By]lang.Text{
	Student: {EN: "done", ZH: "完成"},
	Engine:  {EN: "done by --do", ZH: "由 --do 完成"},
	Skipped: {EN: "skipped", ZH: "跳过"},
}

// Print writes a line for each step.
func (v *Status) Print(w io.Writer, l lang.Tag) error {
	if _, err := fmt.Fprintf(w, "%s: %s\n", v.Lesson, v.Title.In(l)); err != nil {
		return err
	}
	var rows [][]string
	for i, st := range v.Steps {
		state, when := "-", ""
		if st.Done {
			state, when = byWords[st.By].In(l), st.Ended.Local().Format("2006-01-02 15:04")
		}
		rows = append(rows, []string{fmt.Sprintf("%2d", i+1), st.Step, state, when, st.Title.In(l)})
	}
	return table(w, rows)
}
