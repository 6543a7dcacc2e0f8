package learn_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"uvs/internal/lang"
	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
	"uvs/lab/learn"
)

// The tests have a namespace of their own, where the names of their labs are taken by nobody
// else: a lesson's name is fixed, and a lesson of the same user may be open.
func TestMain(m *testing.M) {
	lab.Main()
	os.Exit(nstest.Run(m))
}

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
				if typesIP(l) {
					labtest.NeedIP(t)
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

// typesIP reports whether ip(8) is typed in a lesson.
func typesIP(l *learn.Lesson) bool {
	for i := range l.Steps {
		for _, line := range l.Steps[i].Type {
			if slices.Contains(strings.Fields(line.Text), "ip") {
				return true
			}
		}
	}
	return false
}

// A line that only looks is typed again if it fails, as a request does that is too slow. One
// that does something is not.
func TestALineThatOnlyLooksIsTypedAgain(t *testing.T) {
	labtest.Available(t)
	const fails = "test -e /run/tried || { touch /run/tried; exit 3; }"
	for _, look := range []bool{true, false} {
		t.Run(fmt.Sprintf("look %v", look), func(t *testing.T) {
			t.Parallel()
			step := learn.Step{Name: "once", Type: []learn.Line{{Node: "client", Text: fails, Look: look}}}
			var out bytes.Buffer
			s := &learn.Session{
				Lesson: &learn.Lesson{Name: "again", Topology: "nat", Steps: []learn.Step{step}},
				Out:    &out, LabName: fmt.Sprintf("again-%v", look), Program: labtest.Program(t),
			}
			err := s.Do(t.Context())
			if times := strings.Count(out.String(), fails); (err == nil) != look || look != (times == 2) {
				t.Errorf("it was typed %d times, %v", times, err)
			}
		})
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
