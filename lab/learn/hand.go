package learn

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// sign decides whose the result is: the student who is named now, or else the one who was
// named before in this run, or else the user. It refuses a file for the result that is
// anything but the result of this run so far, because writing would destroy that.
func (s *Session) sign() error {
	before, err := s.handed()
	if err != nil {
		return err
	}
	s.progress.Student = cmp.Or(s.Author.Student, s.progress.Student, before.Student)
	s.Author.Student = cmp.Or(s.progress.Student, s.Author.User)
	return nil
}

// handed returns the result as this run has written it; an empty one if there is no file.
func (s *Session) handed() (Result, error) {
	if s.Result == "" {
		return Result{}, nil
	}
	at, err := os.Lstat(s.Result)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{}, nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("learn: %w", err)
	}
	if !at.Mode().IsRegular() {
		return Result{}, s.taken("is not a regular file")
	}
	data, err := os.ReadFile(s.Result)
	if err != nil {
		return Result{}, fmt.Errorf("learn: %w", err)
	}
	r, _, err := readResult(data)
	switch {
	case err != nil:
		return Result{}, s.taken("is there and is not a result of uvs learn")
	case r.Lesson != s.Lesson.Name:
		return Result{}, s.taken(fmt.Sprintf("is a result of the lesson %q", r.Lesson))
	case r.Run != s.progress.Run:
		return Result{}, s.taken(fmt.Sprintf("is the result of another run of %s, begun %s", s.Lesson.Name, r.Begun.Local().Format("2006-01-02 15:04")))
	}
	return r, nil
}

// taken refuses a file for the result.
func (s *Session) taken(why string) error {
	return fmt.Errorf("learn: --result: %s %s, and is left as it is; name another file, or remove it first", s.Result, why)
}

// hand writes the result, if that is asked for.
func (s *Session) hand() error {
	if s.Result == "" {
		return nil
	}
	return writeFile(s.Result, newResult(s.Lesson, s.progress, s.Author, string(s.Lang), time.Now()))
}

// leave says how far the student is, and that he can go on where that was kept.
func (s *Session) leave() {
	text := leaving
	if s.Store == nil {
		text = leavingForGood
	}
	s.say(text, s.progress.Count(s.Lesson), len(s.Lesson.Steps), s.Lesson.Name)
}
