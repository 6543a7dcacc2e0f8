package learn

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uvs/internal/lang"
)

func TestAFileThatIsNotThisRunsResultIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	run := newProgress("nat", time.Now())
	for name, text := range map[string]string{"precious": "precious\n", "empty": "", "junk.json": "{}", "half.json": `{"format":"uvs learn result"`} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, p := range map[string]*Progress{"finished": finishedRun(&nat, Student), "mine": run} {
		if err := writeFile(at(name), newResult(&nat, p, author("a"), "en", time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFile(at("dr"), newResult(&dr, newProgress("dr", time.Now()), author("a"), "en", time.Now())); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("mine"), at("link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"precious": "not a result of uvs learn", "empty": "not a result", "junk.json": "not a result", "half.json": "not a result",
		"finished": "another run of nat", "dr": `the lesson "dr"`, "link": "not a regular file", ".": "not a regular file",
		"mine": "", "not-there": "",
	} {
		before, _ := os.ReadFile(at(name))
		s := &Session{Lesson: &nat, Result: at(name), progress: run}
		err := s.sign()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(at(name)); string(after) != string(before) {
			t.Errorf("%s was changed", name)
		}
	}
}

// The engine's run is always a new one, and is refused before a lab is started.
func TestTheEngineRefusesAFileOfAnotherRun(t *testing.T) {
	path := write(t, newResult(&nat, finishedRun(&nat, Student), author("a"), "en", time.Now()))
	s := &Session{Lesson: &nat, Lang: lang.EN, Out: io.Discard, Result: path}
	if err := s.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("%v", err)
	}
}

func TestTheNameOfTheStudentIsKept(t *testing.T) {
	store, result := &Store{t.TempDir()}, filepath.Join(t.TempDir(), "s.json")
	for _, c := range []struct{ result, given, want string }{
		{result, "", "nobody"},
		{result, "Li Lei", "Li Lei"},
		{result, "", "Li Lei"},
		{result + "2", "", "Li Lei"},
		{result, "Han Meimei", "Han Meimei"},
		{result, "", "Han Meimei"},
	} {
		s := &Session{Lesson: &nat, Store: store, Result: c.result, Author: Author{Student: c.given, User: "nobody"}, Out: io.Discard}
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		if err := s.sign(); err != nil {
			t.Fatal(err)
		}
		s.save(s.progress)
		if err := s.hand(); err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(c.result)
		if r, _, err := readResult(data); err != nil || r.Student != c.want {
			t.Errorf("%+v: %q, %v", c, r.Student, err)
		}
	}
}

func TestADamagedFileHidesOneLessonOnly(t *testing.T) {
	s := &Store{t.TempDir()}
	if err := s.Save(finishedRun(&nat, Student)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("dr"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := PrintList(&out, s.Status(), lang.EN); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		switch word, _, _ := strings.Cut(line, " "); {
		case word == "dr" && (!strings.Contains(line, "(unreadable: ") || !strings.Contains(line, "--reset")),
			word == "nat" && !strings.Contains(line, " done "),
			word != "dr" && strings.Contains(line, "unreadable"):
			t.Error(line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != len(Lessons())+1 {
		t.Errorf("%d lines", n)
	}
}

// Teachers grade by it.
func TestAHintThatComesAgainIsNotCounted(t *testing.T) {
	s := &Session{Lesson: &nat, Lang: lang.EN, Out: io.Discard}
	for hints := range 4 {
		n := &turn{Session: s, step: &Step{Hints: make([]lang.Text, hints)}}
		for range 5 {
			n.hint()
		}
		if want := max(hints, 1); n.hints != want {
			t.Errorf("%d hints asked for five times count %d", hints, n.hints)
		}
	}
}
