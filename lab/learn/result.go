package learn

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	strict "github.com/go-json-experiment/json"
)

// resultFormat names a file of results.
const resultFormat = "uvs learn result"

// Result is what a student hands in.
//
// Each step has a seal: a hash of itself and of the seal before it, and the first of what
// stands at the head of the file. So whoever edits a figure, a name or a time, takes a step
// out or puts one in, is found out by [Verify], unless he computes all seals anew. A program
// whose source is open can keep nobody from that: there is no secret in it. Nor does the
// file show who sat at the keyboard.
type Result struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	Student  string    `json:"student"`
	User     string    `json:"user"` // of the system
	Host     string    `json:"host"`
	UVS      string    `json:"uvs"` // version
	Lesson   string    `json:"lesson"`
	Digest   string    `json:"lesson_digest"` // of what the lesson checks, see Lesson.digest
	Language string    `json:"language"`
	Run      string    `json:"run"`
	Begun    time.Time `json:"begun"`
	Written  time.Time `json:"written"`
	Total    int       `json:"steps_in_lesson"`
	Steps    []Done    `json:"steps"`
	Seal     string    `json:"seal"` // of all but itself
}

// Author says who takes a lesson, and where.
type Author struct{ Student, User, Host, UVS string }

// newResult makes a result of what was done so far.
func newResult(l *Lesson, p *Progress, a Author, language string, now time.Time) *Result {
	r := &Result{
		Format: resultFormat, Version: progressVersion,
		Student: a.Student, User: a.User, Host: a.Host, UVS: a.UVS,
		Lesson: l.Name, Digest: l.digest(), Language: language,
		Run: p.Run, Begun: p.Begun, Written: now.UTC().Round(time.Second),
		Total: len(l.Steps), Steps: p.Steps,
	}
	r.Seal = r.whole()
	return r
}

// readResult reads a result. It is as written if each field is one that this version writes,
// spelt exactly, and occurs once. The error is about a file that is no result at all.
func readResult(data []byte) (r Result, asWritten bool, err error) {
	if err := json.Unmarshal(data, &r); err != nil {
		return Result{}, false, err
	}
	if r.Format != resultFormat {
		return Result{}, false, errors.New("not a result of uvs learn")
	}
	return r, strict.Unmarshal(data, new(Result), strict.RejectUnknownMembers(true)) == nil, nil
}

// whole returns the seal of a result: of everything in it but the seal itself.
func (r *Result) whole() string {
	c := *r
	c.Seal = ""
	return digest(c)
}

// lastSeal is what the next step's seal is chained to.
func (p *Progress) lastSeal() string {
	if n := len(p.Steps); n > 0 {
		return p.Steps[n-1].Seal
	}
	return firstSeal(p.Lesson, p.Run, p.Begun)
}

func firstSeal(lesson, run string, begun time.Time) string {
	return digest([]string{lesson, run, begun.UTC().Format(time.RFC3339Nano)})
}

// seal returns the seal of a step after another seal.
func seal(before string, d Done) string {
	d.Seal = before
	return digest(d)
}

// digest returns the SHA-256 of a value's JSON.
func digest(v any) string {
	data, _ := json.Marshal(v)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// digest tells lessons of different versions apart: by their steps, and by what is typed and
// checked there. Texts may change.
func (l *Lesson) digest() string {
	type step struct {
		Name   string
		Type   []Line
		Checks []string
	}
	var all []step
	for i := range l.Steps {
		s := step{Name: l.Steps[i].Name, Type: l.Steps[i].Type}
		for _, c := range l.Steps[i].Checks {
			s.Checks = append(s.Checks, c.What.EN)
		}
		all = append(all, s)
	}
	return digest(all)[:16]
}
