package top

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Control sequences (ECMA-48, and xterm's for the second screen). A library for pages in a
// terminal does no more for this one, and takes 700 KB of the binary.
const (
	secondScreen = "\x1b[?1049h\x1b[?25l\x1b]2;uvs top\a" // without a cursor, under a title
	firstScreen  = "\x1b[?25h\x1b[?1049l"
	clearScreen  = "\x1b[2J"
	moveTo       = "\x1b[%d;1H" // a line, from 1
	clearLine    = "\x1b[K"
)

// keyNames are the keys that are not a character, by what a terminal sends for them.
var keyNames = map[string]string{
	"\x03": "ctrl+c", "\x1b": "esc", "\t": "tab", " ": "space",
	"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "pgup", "\x1b[6~": "pgdown",
}

// screen is a terminal that shows a page, and whose keys are read one by one.
type screen struct {
	in, out *os.File
	before  *term.State
	shown   []string // lines that the terminal shows
}

// openScreen takes the terminal. close gives it back as it was.
func openScreen(in, out *os.File) (*screen, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("top: terminal: %w", err)
	}
	_, _ = out.WriteString(secondScreen)
	return &screen{in: in, out: out, before: before}, nil
}

func (s *screen) close() {
	_, _ = s.out.WriteString(firstScreen)
	_ = term.Restore(int(s.in.Fd()), s.before)
}

// size returns the terminal's columns and lines, and has everything drawn anew.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width == 0 || height == 0 {
		width, height = 80, 24
	}
	s.shown = nil
	return width, height
}

// draw shows a page: it writes the lines that have changed.
func (s *screen) draw(page string) {
	var b strings.Builder
	lines := strings.Split(page, "\n")
	if len(s.shown) != len(lines) {
		b.WriteString(clearScreen)
		s.shown = make([]string, len(lines))
	}
	for i, line := range lines {
		if line != s.shown[i] {
			fmt.Fprintf(&b, moveTo+clearLine+"%s", i+1, line)
		}
	}
	s.shown = lines
	_, _ = s.out.WriteString(b.String())
}

// keys yields the keys that are pressed until the context ends. The channel is closed when
// the terminal has gone.
func (s *screen) keys(ctx context.Context) <-chan string {
	keys := make(chan string)
	go func() {
		defer close(keys)
		b := make([]byte, 256)
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(s.in.Fd()), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds, 200); n == 0 || err == unix.EINTR {
				continue
			}
			n, err := s.in.Read(b)
			if err != nil || n == 0 {
				return
			}
			for _, key := range keysOf(string(b[:n])) {
				select {
				case keys <- key:
				case <-ctx.Done():
				}
			}
		}
	}()
	return keys
}

// keysOf names the keys in what a terminal sent at once.
func keysOf(sent string) (keys []string) {
	for sent != "" {
		key := sent[:1]
		if key == "\x1b" && len(sent) > 1 {
			key = sequence(sent)
		}
		sent = sent[len(key):]
		if name, ok := keyNames[key]; ok {
			key = name
		}
		keys = append(keys, key)
	}
	return keys
}

// sequence returns the control sequence that text begins with: up to its final byte, which
// is @ or above.
func sequence(text string) string {
	for i := 2; i < len(text); i++ {
		if text[i] >= '@' {
			return text[:i+1]
		}
	}
	return text
}
