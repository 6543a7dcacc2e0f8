package learn

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// progressVersion is the version of the file's form. A file of a later one is left alone.
const progressVersion = 1

// By says who did a step.
type By string

// Who did a step.
const (
	Student By = "student"
	Engine  By = "do"   // uvs learn --do typed the answers
	Skipped By = "skip" // the lab was brought to the next step
)

// Done is a step that was done.
type Done struct {
	Step  string    `json:"step"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	By    By        `json:"by"`
	Tries int       `json:"tries"` // how often the step was checked, the last time included
	Hints int       `json:"hints"`
	Shown bool      `json:"shown,omitempty"` // the student had the answer shown
	Saw   []string  `json:"saw,omitempty"`   // the director's services when it was done
	Seal  string    `json:"seal"`            // of this step and all before it
}

// Progress is what was done of a lesson, in the order in which it was done.
type Progress struct {
	Version int       `json:"version"`
	Lesson  string    `json:"lesson"`
	Run     string    `json:"run"` // random, another one after each reset
	Begun   time.Time `json:"begun"`
	Student string    `json:"student,omitempty"` // as it was given, for the results to come
	Steps   []Done    `json:"steps"`
}

// newProgress begins a lesson.
func newProgress(lesson string, now time.Time) *Progress {
	return &Progress{Version: progressVersion, Lesson: lesson, Run: rand.Text(), Begun: now.UTC(), Steps: []Done{}}
}

// Of returns what was done of a step last; ok is false if it was not done.
func (p *Progress) Of(step string) (d Done, ok bool) {
	for _, d := range slices.Backward(p.Steps) {
		if d.Step == step {
			return d, true
		}
	}
	return Done{}, false
}

// Count returns how many steps of a lesson were done.
func (p *Progress) Count(l *Lesson) (n int) {
	for i := range l.Steps {
		if _, ok := p.Of(l.Steps[i].Name); ok {
			n++
		}
	}
	return n
}

// next returns the number of the first step of a lesson that was not done.
func (p *Progress) next(l *Lesson) int {
	for i := range l.Steps {
		if _, ok := p.Of(l.Steps[i].Name); !ok {
			return i
		}
	}
	return len(l.Steps)
}

// add appends a step with its seal.
func (p *Progress) add(d Done) {
	d.Began, d.Ended = d.Began.UTC().Round(time.Millisecond), d.Ended.UTC().Round(time.Millisecond)
	d.Seal = seal(p.lastSeal(), d)
	p.Steps = append(p.Steps, d)
}

// Store keeps progress in files of a directory, one for each lesson. Where it is nil nothing
// is kept.
type Store struct{ Dir string }

// DefaultStore returns the one in $XDG_STATE_HOME/uvs/learn, or in ~/.local/state/uvs/learn.
func DefaultStore() (*Store, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) { // XDG Base Directory: others are to be ignored
		return &Store{filepath.Join(dir, "uvs", "learn")}, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("learn: where to keep what was done: %w; set XDG_STATE_HOME", err)
	}
	return &Store{filepath.Join(home, ".local", "state", "uvs", "learn")}, nil
}

func (s *Store) path(lesson string) string { return filepath.Join(s.Dir, lesson+".json") }

// Load returns what was done of a lesson; nothing, if it was never begun.
func (s *Store) Load(lesson string) (*Progress, error) {
	if s == nil {
		return newProgress(lesson, time.Now()), nil
	}
	path := s.path(lesson)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newProgress(lesson, time.Now()), nil
	}
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	p := &Progress{}
	if err := json.Unmarshal(data, p); err != nil || p.Lesson != lesson || p.Run == "" {
		return nil, fmt.Errorf("learn: %s is not what uvs wrote; begin anew with: uvs learn %s --reset", path, lesson)
	}
	if p.Version != progressVersion {
		return nil, fmt.Errorf("learn: %s has version %d, and this uvs reads %d; use the uvs that wrote it, or begin anew with: uvs learn %s --reset",
			path, p.Version, progressVersion, lesson)
	}
	return p, nil
}

// Save writes what was done of a lesson, so that either the old or the new file is there,
// whole, whatever happens.
func (s *Store) Save(p *Progress) error {
	if s == nil {
		return nil
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	return writeFile(s.path(p.Lesson), p)
}

// Reset forgets what was done of a lesson.
func (s *Store) Reset(lesson string) error {
	if s == nil {
		return nil
	}
	if err := os.Remove(s.path(lesson)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("learn: %w", err)
	}
	return nil
}

// writeFile writes JSON to a file in one step: beside it first, then in its place.
func writeFile(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("learn: %w", err)
	}
	return nil
}
