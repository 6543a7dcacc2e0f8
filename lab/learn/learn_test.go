package learn_test

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"

	"uvs/internal/lang"
	"uvs/lab/labtest"
	"uvs/lab/learn"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// Each lesson is taken in each language, with the answers typed by the engine: every check
// holds when they were typed.
func TestEveryLessonInEachLanguage(t *testing.T) {
	labtest.Available(t)
	for _, l := range learn.Lessons() {
		for _, tag := range lang.Tags {
			t.Run(l.Name+"/"+string(tag), func(t *testing.T) {
				t.Parallel()
				if _, err := exec.LookPath("keepalived"); err != nil && l.Topology == "ha" {
					labtest.Skip(t, "needs keepalived")
				}
				var out bytes.Buffer
				s := &learn.Session{Lesson: l, Lang: tag, Out: &out, LabName: "test-" + l.Name + "-" + string(tag), Program: labtest.Program(t)}
				if err := s.Do(context.Background()); err != nil {
					t.Fatalf("%v\n%s", err, out.String())
				}
				for i := range l.Steps {
					for _, text := range []lang.Text{l.Steps[i].Title, l.Steps[i].Why} {
						if !strings.Contains(unbroken(out.String()), unbroken(text.In(tag))) {
							t.Errorf("step %s does not say %q", l.Steps[i].Name, text.In(tag))
						}
					}
				}
			})
		}
	}
}

// script is a student who types lines, and then leaves.
type script struct{ lines []string }

func (s *script) ReadLine(string) (string, error) {
	if len(s.lines) == 0 {
		return "", io.EOF
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	return line, nil
}

// take takes a lesson by a script and returns what it printed.
func take(t *testing.T, s *learn.Session, lines ...string) string {
	t.Helper()
	labtest.Available(t)
	var out bytes.Buffer
	s.In, s.Out, s.Program = &script{lines}, &out, labtest.Program(t)
	if err := s.Learn(context.Background()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

func lesson(t *testing.T, name string) *learn.Lesson {
	t.Helper()
	l, err := learn.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asked is a student who decides what to type when he is asked.
type asked struct {
	n    int
	next func(n int) string
}

func (a *asked) ReadLine(string) (string, error) {
	a.n++
	return a.next(a.n - 1), nil
}

// takeWhile takes a lesson by a student who decides what to type as he goes.
func takeWhile(t *testing.T, s *learn.Session, next func(n int) string) string {
	t.Helper()
	labtest.Available(t)
	var out bytes.Buffer
	s.In, s.Out, s.Program = &asked{next: next}, &out, labtest.Program(t)
	if err := s.Learn(context.Background()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}
