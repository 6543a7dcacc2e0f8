package top

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// Page shows the director until the user quits, the terminal goes away or the context ends.
// Keys come from in and the page goes to out, which are one terminal.
func Page(ctx context.Context, d Director, every time.Duration, in, out *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := openScreen(in, out)
	if err != nil {
		return err
	}
	defer s.close()
	newModel(ctx, d, every).run(s)
	return nil
}

// answer is what the director said.
type answer struct {
	moment *Moment
	err    error
}

// look returns what asks the director, which may take its time.
func (m *model) look() func() answer {
	q, before := m.query(), m.latest
	return func() answer {
		moment, err := next(m.ctx, m.director, q, before)
		return answer{moment, err}
	}
}

// run asks the director, and the user, and draws what follows.
func (m *model) run(s *screen) {
	keys, answers := s.keys(m.ctx), make(chan answer, 1)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	m.width, m.height = s.size()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		s.draw(m.text())
		select {
		case <-m.ctx.Done():
			return
		case key, ok := <-keys:
			if !ok || m.press(key) {
				return
			}
		case <-resized:
			m.width, m.height = s.size()
		case <-again.C:
			look := m.look()
			go func() { answers <- look() }()
		case a := <-answers:
			m.answered(a)
			again.Reset(m.every)
		}
	}
}
