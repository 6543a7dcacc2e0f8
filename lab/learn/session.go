package learn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"uvs/internal/lang"
	"uvs/lab"
)

// Input is where a student types. ReadLine shows a prompt and returns a line without its
// end; io.EOF when the student leaves.
type Input interface {
	ReadLine(prompt string) (string, error)
}

// Session goes through a lesson. It owns the lesson's lab, which ends with it. It is for one
// goroutine.
type Session struct {
	Lesson  *Lesson
	Lang    lang.Tag
	In      Input
	Out     io.Writer
	LabName string // "learn-" and the lesson's name if empty
	Program string // of the lab, see lab.Config
	// Foreground runs a command of the student; nil: it has no input, and its output goes to
	// Out.
	Foreground func(*lab.Cmd) error
	Store      *Store // nil: nothing is kept
	Result     string // file to write results to; empty: none
	Author     Author

	progress *Progress
	scene    *Scene
}

// errLeft is a student who leaves before the end.
var errLeft = errors.New("left")

// Learn goes through the lesson with the student, from the first step that he has not done.
// It returns nil when he leaves, too.
func (s *Session) Learn(ctx context.Context) error {
	if err := s.load(); err != nil {
		return err
	}
	if err := s.sign(); err != nil {
		return err
	}
	first := s.progress.next(s.Lesson)
	if first == len(s.Lesson.Steps) {
		s.say(finishedBefore, s.Lesson.Name)
		return s.hand()
	}
	s.save(s.progress)
	if err := s.hand(); err != nil { // now rather than after the first step
		return err
	}
	defer s.close()
	if err := s.build(first); err != nil {
		return err
	}
	s.introduce(first)
	for i := first; i < len(s.Lesson.Steps); {
		next, err := s.step(ctx, i)
		if errors.Is(err, errLeft) {
			s.leave()
			return nil
		}
		if err != nil {
			return err
		}
		i = next
	}
	s.farewell()
	return nil
}

// Do types the answers of the whole lesson. Steps that the student has done stay his.
func (s *Session) Do(ctx context.Context) error {
	if err := s.load(); err != nil {
		return err
	}
	kept := s.progress
	s.progress = newProgress(s.Lesson.Name, time.Now())
	s.progress.Student = kept.Student
	if err := s.sign(); err != nil {
		return err
	}
	if err := s.hand(); err != nil {
		return err
	}
	defer s.close()
	if err := s.build(0); err != nil {
		return err
	}
	s.introduce(0)
	for i := range s.Lesson.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := s.do(ctx, i)
		if err != nil {
			return err
		}
		if err := s.keep(d); err != nil {
			return err
		}
		if _, done := kept.Of(d.Step); !done {
			kept.add(d)
		}
	}
	s.say(doneByEngine, len(s.Lesson.Steps))
	s.save(kept)
	return nil
}

// save keeps what was done. Where that cannot be kept, the lesson goes on without.
func (s *Session) save(p *Progress) {
	if err := s.Store.Save(p); err != nil {
		s.say(notKept, err)
		s.Store = nil
	}
}

// load reads what was done before.
func (s *Session) load() (err error) {
	if s.LabName == "" {
		s.LabName = "learn-" + s.Lesson.Name
	}
	s.progress, err = s.Store.Load(s.Lesson.Name)
	return err
}

// keep adds a step to what was done, and writes the result.
func (s *Session) keep(d Done) error {
	d.Saw = s.scene.evidence()
	s.progress.add(d)
	if d.By != Engine {
		s.save(s.progress)
	}
	return s.hand()
}

// build starts a lab and brings it to the state in which a step begins.
func (s *Session) build(step int) error {
	s.close()
	if _, err := lab.Attach(s.LabName); err == nil {
		return fmt.Errorf("learn: the lesson is open in another terminal; end it there, or take its lab down with: uvs lab down %s", s.LabName)
	}
	t, err := lab.Build(s.Lesson.Topology, s.Lesson.Options)
	if err != nil {
		return err
	}
	l, err := lab.Start(t, lab.Config{Name: s.LabName, Program: s.Program})
	if err != nil {
		return err
	}
	s.scene = newScene(l)
	for i := range step {
		if err := s.replay(&s.Lesson.Steps[i]); err != nil {
			return fmt.Errorf("learn: bring the lab to step %d: %w", step+1, err)
		}
	}
	return nil
}

// replay does what a step leaves behind.
func (s *Session) replay(st *Step) error {
	s.begin(st)
	for _, line := range st.Type {
		if line.Look {
			continue
		}
		if _, err := s.scene.output(line.Node, "sh", "-c", line.Text); err != nil && !line.Fails {
			return err
		}
	}
	s.scene.Release()
	return nil
}

// begin sets the stage of a step. A lab in which that fails shows it in the step's checks.
func (s *Session) begin(st *Step) {
	s.scene.Release()
	s.scene.note = ""
	if st.Begin != nil {
		if err := st.Begin(s.scene); err != nil {
			fmt.Fprintln(s.Out, err)
		}
	}
	_ = s.scene.mark()
}

// close ends the lab.
func (s *Session) close() {
	if s.scene == nil {
		return
	}
	s.scene.Release()
	_ = s.scene.Lab.Close()
	s.scene = nil
}

// step goes through one step with the student and returns the number of the next.
func (s *Session) step(ctx context.Context, i int) (next int, err error) {
	st := &s.Lesson.Steps[i]
	s.begin(st)
	s.present(i)
	t := &turn{Session: s, step: st, number: i, node: st.node(), began: time.Now()}
	for {
		if ctx.Err() != nil {
			return i, errLeft
		}
		line, err := s.In.ReadLine(t.node + "# ")
		if errors.Is(err, io.EOF) {
			return i, errLeft
		}
		if err != nil {
			return i, fmt.Errorf("learn: %w", err)
		}
		if s.scene.lost() {
			s.say(labLost)
			if err := s.build(i); err != nil {
				return i, err
			}
			s.begin(st)
		}
		switch outcome, err := t.obey(line); {
		case err != nil:
			return i, err
		case outcome == again:
			return i, s.build(i)
		case outcome == skipped:
			return i + 1, errors.Join(s.keep(t.done(Skipped)), s.build(i+1))
		case outcome == done:
			return i + 1, s.keep(t.done(Student))
		}
	}
}

// node is where most of a step is typed. Where the student is to find that out, it is the client.
func (st *Step) node() string {
	if st.Own {
		return "client"
	}
	if len(st.Type) > 0 {
		return st.Type[0].Node
	}
	return "director"
}

// doWithin is how long the checks of a step may take to hold after everything was typed, and
// how long a line that only shows something is typed again while it fails.
const doWithin = 20 * time.Second

// retryAfter is how long a line that failed is left alone before it is typed again.
const retryAfter = 500 * time.Millisecond

// do types the answers of one step, and waits until its checks hold.
func (s *Session) do(ctx context.Context, i int) (Done, error) {
	st := &s.Lesson.Steps[i]
	t := &turn{Session: s, step: st, number: i, began: time.Now(), tries: 1}
	s.begin(st)
	s.present(i)
	for _, line := range st.Type {
		if line.Late {
			t.await(doWithin)
		}
		if err := t.enter(ctx, line); err != nil {
			return Done{}, s.failed(st, fmt.Errorf("%s# %s: %w", line.Node, line.Text, err))
		}
	}
	misses := t.await(doWithin)
	if first := firstMiss(misses); first >= 0 {
		m := misses[first]
		return Done{}, s.failed(st, fmt.Errorf("%s: seen %s; wanted %s", st.Checks[first].What.EN, m.Saw.EN, m.Want.EN))
	}
	if err := t.answerRight(); err != nil {
		return Done{}, s.failed(st, err)
	}
	t.praise()
	return t.done(Engine), nil
}

// enter types a line, and returns an error if it does not do as it should. A request may be
// too slow for its limit on a busy machine, or come before what was mended works: a line that
// changes nothing is typed again, until doWithin has passed or ctx is done.
func (t *turn) enter(ctx context.Context, line Line) error {
	for deadline := time.Now().Add(doWithin); ; {
		fmt.Fprintf(t.Out, "%s# %s\n", line.Node, line.Text)
		err := t.run(line.Node, line.Text)
		if (err != nil) == line.Fails {
			return nil
		}
		var exit *lab.ExitError
		if line.Fails || !line.Look || !errors.As(err, &exit) || time.Now().After(deadline) {
			return unexpected(err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryAfter):
		}
	}
}

// failed names the step in an error.
func (s *Session) failed(st *Step, err error) error {
	return fmt.Errorf("learn: %s, step %s: %w", s.Lesson.Name, st.Name, err)
}

// answerRight answers the step's question, if it has one.
func (t *turn) answerRight() error {
	if t.step.Ask == nil {
		return nil
	}
	answer, err := t.step.Ask.Right(t.scene)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Out, "%s\n> answer %s\n", wrap(t.step.Ask.Text.In(t.Lang), width), answer)
	if miss := t.step.Ask.judge(t.scene, answer); miss != nil {
		return fmt.Errorf("the answer %s is wrong: seen %s; wanted %s", answer, miss.Saw.EN, miss.Want.EN)
	}
	return nil
}

// unexpected is the error of a line that did not do as it should.
func unexpected(err error) error {
	if err == nil {
		return errors.New("it was to fail, and did not")
	}
	return err
}
