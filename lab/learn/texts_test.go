package learn

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"uvs/internal/lang"
	"uvs/lab"
)

func TestNoTextIsMissingInEitherLanguage(t *testing.T) {
	for _, l := range Lessons() {
		texts := map[string]lang.Text{"title": l.Title, "goal": l.Goal, "ways": l.Ways}
		for i := range l.Steps {
			st := &l.Steps[i]
			texts[st.Name+" title"], texts[st.Name+" task"], texts[st.Name+" why"] = st.Title, st.Task, st.Why
			for _, h := range st.Hints {
				texts[st.Name+" hint"] = h
			}
			if st.Ask != nil {
				texts[st.Name+" question"] = st.Ask.Text
			}
			for _, c := range st.Checks {
				if !c.What.Complete() {
					t.Errorf("%s: a check of %s lacks a text", l.Name, st.Name)
				}
			}
		}
		for what, x := range texts {
			if !x.Complete() || !strings.ContainsFunc(x.ZH, han) || strings.ContainsFunc(x.EN, han) {
				t.Errorf("%s: %s: a text is missing or in the wrong language: %+v", l.Name, what, x)
			}
			if strings.Contains(x.ZH, "  ") || strings.Contains(x.EN, "  ") {
				t.Errorf("%s: %s: two spaces in a row", l.Name, what)
			}
		}
	}
	for i, x := range []lang.Text{goalText, stepHead, continued, howTo, helpText, notYet, sawWanted, questionText, noQuestion, noShell,
		hintFrom, hintShow, labLost, notKept, leaving, finished, nextLesson, finishedBefore, doneByEngine} {
		if !x.Complete() || strings.Count(x.EN, "%") != strings.Count(x.ZH, "%") {
			t.Errorf("text %d of the engine: %+v", i, x)
		}
	}
}

func han(r rune) bool { return unicode.Is(unicode.Han, r) }

func TestALessonFitsItsLabAndTheTerminal(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, l := range Lessons() {
		if !name.MatchString(l.Name) || seen[l.Name] {
			t.Errorf("the name %q", l.Name)
		}
		seen[l.Name] = true
		topology, err := lab.Build(l.Topology, l.Options)
		if err != nil {
			t.Errorf("%s: %v", l.Name, err)
			continue
		}
		for line := range strings.Lines(l.Picture) {
			if columns(strings.TrimRight(line, "\n")) > width-2 {
				t.Errorf("%s: the picture is too wide: %s", l.Name, line)
			}
		}
		steps := map[string]bool{}
		for i := range l.Steps {
			st := &l.Steps[i]
			if !name.MatchString(st.Name) || steps[st.Name] {
				t.Errorf("%s: the step's name %q", l.Name, st.Name)
			}
			steps[st.Name] = true
			if len(st.Checks) == 0 && st.Ask == nil {
				t.Errorf("%s: nobody looks whether step %s was done", l.Name, st.Name)
			}
			for _, line := range st.Type {
				if topology.Node(line.Node) == nil {
					t.Errorf("%s: step %s is typed on %q", l.Name, st.Name, line.Node)
				}
			}
		}
	}
}

func TestTextsAreBrokenAtSpacesAndBetweenChineseCharacters(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"words", "one two three four", "one two\nthree four"},
		{"Chinese", "负载均衡器转发请求", "负载均衡器\n转发请求"},
		{"no punctuation begins a line", "负载均衡器，转发", "负载均衡\n器，转发"},
		{"a word among Chinese stays whole", "发往 192.168.1.1 的", "发往\n192.168.1.1\n的"},
		{"lines that are indented stay", " one two three four", " one two three four"},
		{"an end of line stays", "one\ntwo", "one\ntwo"},
	} {
		if got := wrap(c.text, 10); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
