package learn

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// finishedRun is a lesson that was done by a student, a minute for each step.
func finishedRun(l *Lesson, by By) *Progress {
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	p := newProgress(l.Name, at)
	for i := range l.Steps {
		p.add(Done{Step: l.Steps[i].Name, Began: at, Ended: at.Add(time.Minute), By: by, Tries: 2, Hints: 1, Saw: []string{"-t 172.16.253.63:80 rr"}})
		at = at.Add(time.Minute)
	}
	return p
}

func TestProgressIsKeptAndForgotten(t *testing.T) {
	s := &Store{filepath.Join(t.TempDir(), "uvs", "learn")}
	p, err := s.Load("nat")
	if err != nil || len(p.Steps) != 0 {
		t.Fatalf("before the first step: %+v, %v", p, err)
	}
	p.add(Done{Step: "service", Began: time.Now(), Ended: time.Now(), By: Student, Tries: 1})
	if err := s.Save(p); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load("nat")
	if err != nil || got.Run != p.Run || len(got.Steps) != 1 || got.next(&nat) != 1 {
		t.Fatalf("read back: %+v, %v", got, err)
	}
	if got.add(Done{Step: "servers"}); got.Steps[1].Seal != seal(p.Steps[0].Seal, got.Steps[1]) {
		t.Error("the seals are not chained after reading")
	}
	if left, _ := os.ReadDir(s.Dir); len(left) != 1 {
		t.Errorf("files beside the progress: %v", left)
	}
	if err := s.Reset("nat"); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Load("nat"); err != nil || len(p.Steps) != 0 {
		t.Errorf("after the reset: %+v, %v", p, err)
	}
}

func TestProgressThatCannotBeReadIsNotOverwritten(t *testing.T) {
	for name, text := range map[string]string{
		"half a file":     `{"version":1,"lesson":"nat","ru`,
		"another lesson":  `{"version":1,"lesson":"dr","run":"x","steps":[]}`,
		"a later version": `{"version":2,"lesson":"nat","run":"x","steps":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := &Store{t.TempDir()}
			if err := os.WriteFile(s.path("nat"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load("nat"); err == nil || !strings.Contains(err.Error(), "--reset") {
				t.Errorf("the error is %v", err)
			}
			if data, _ := os.ReadFile(s.path("nat")); string(data) != text {
				t.Error("the file was changed")
			}
		})
	}
}

// write writes a result into a file of a new directory.
func write(t *testing.T, r any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "result.json")
	if err := writeFile(path, r); err != nil {
		t.Fatal(err)
	}
	return path
}

func author(name string) Author { return Author{Student: name, User: "u", Host: "h", UVS: "1"} }

func TestAResultHoldsUntilItIsChanged(t *testing.T) {
	p := finishedRun(&nat, Student)
	end := p.Steps[len(p.Steps)-1].Ended
	path := write(t, newResult(&nat, p, author("Li Lei"), "zh", end))
	all := Verify([]string{path}, true)
	if !all[0].OK() {
		t.Fatalf("unchanged: %+v", all)
	}
	if v := all[0]; v.Done != len(nat.Steps) || v.Took != time.Duration(len(nat.Steps))*time.Minute || v.Tries != 2*v.Done || v.Hints != v.Done {
		t.Errorf("the sums are wrong: %+v", v)
	}
	data, _ := os.ReadFile(path)
	for name, change := range map[string][2]string{
		"another name":    {"Li Lei", "Han Meimei"},
		"fewer tries":     {`"tries": 2`, `"tries": 1`},
		"another time":    {"09:01:00", "09:00:30"},
		"another host":    {`"host": "h"`, `"host": "i"`},
		"other rules":     {"80 rr", "80 wrr"},
		"another version": {`"uvs": "1"`, `"uvs": "2"`},
		"a field more":    {`"host": "h"`, `"host": "h", "grade": "A"`},
		"a field twice":   {`"student": "Li Lei"`, `"student": "Han Meimei", "student": "Li Lei"`},
		"other case":      {`"host": "h"`, `"Host": "h"`},
		"more in a step":  {`"tries": 2`, `"tries": 2, "alone": true`},
	} {
		text := strings.Replace(string(data), change[0], change[1], 1)
		if text == string(data) {
			t.Fatalf("%s: nothing to change", name)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if all := Verify([]string{path}, false); all[0].OK() {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

func TestWhatAResultMustNotBe(t *testing.T) {
	whole := finishedRun(&nat, Student)
	end := whole.Steps[len(whole.Steps)-1].Ended
	half := finishedRun(&nat, Student)
	half.Steps = half.Steps[:2]
	backwards := newProgress("nat", end)
	for i := range nat.Steps {
		backwards.add(Done{Step: nat.Steps[i].Name, Began: end, Ended: end.Add(-time.Hour), By: Student})
	}
	other := *newResult(&nat, whole, author("a"), "en", end)
	other.Digest = "0"
	other.Seal = other.whole()
	for name, c := range map[string]struct {
		result any
		fault  string
	}{
		"half":             {newResult(&nat, half, author("a"), "en", end), "not finished"},
		"impossible times": {newResult(&nat, backwards, author("a"), "en", end), "cannot be"},
		"another version":  {other, "another version of the lesson"},
		"something else":   {map[string]int{"a": 1}, "not a result"},
		"helped":           {newResult(&nat, finishedRun(&nat, Engine), author("a"), "en", end), "unaided"},
	} {
		t.Run(name, func(t *testing.T) {
			all := Verify([]string{write(t, c.result)}, true)
			text, _ := json.Marshal(all[0].Faults)
			if !strings.Contains(string(text), c.fault) {
				t.Errorf("faults: %s", text)
			}
		})
	}
	mine := write(t, newResult(&nat, whole, author("a"), "en", end))
	copied := write(t, newResult(&nat, whole, author("b"), "en", end))
	all := Verify([]string{mine, copied}, true)
	if !all[0].OK() || all[1].OK() || !strings.Contains(all[1].Faults[0].EN, "the same run as") {
		t.Errorf("the same run twice: %+v", all)
	}
	all = Verify([]string{mine + "-not-there", mine}, false)
	if !all[0].Unread || all[0].OK() || all[1].Unread || !all[1].OK() {
		t.Errorf("a file that is not there, and one that holds: %+v", all)
	}
}
