package learn

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Lines reads lines from a file or a pipe.
type Lines struct {
	in  *bufio.Reader
	out io.Writer
}

// NewLines returns an input that reads from in and writes prompts to out.
func NewLines(in io.Reader, out io.Writer) *Lines {
	return &Lines{bufio.NewReader(in), out}
}

// ReadLine writes the prompt and reads a line. A last line without an end counts.
func (l *Lines) ReadLine(prompt string) (string, error) {
	fmt.Fprint(l.out, prompt)
	line, err := l.in.ReadString('\n')
	fmt.Fprintln(l.out, strings.TrimRight(line, "\r\n"))
	if err == io.EOF && line != "" {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

// Terminal reads lines from a terminal, with editing and a history.
type Terminal struct {
	fd     int
	term   *term.Terminal
	before *term.State // what it was when it was opened
}

// NewTerminal returns an input for a terminal. The terminal is in raw mode only while a line
// is read.
func NewTerminal(in, out *os.File) *Terminal {
	before, _ := term.GetState(int(in.Fd()))
	return &Terminal{int(in.Fd()), term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys{in}, out}, ""), before}
}

// Restore makes the terminal what it was before.
func (t *Terminal) Restore() {
	if t.before != nil {
		_ = term.Restore(t.fd, t.before)
	}
}

// keys are what is typed; Ctrl-C takes the line away, as in a shell, and does not end the
// lesson.
type keys struct{ *os.File }

func (k keys) Read(p []byte) (int, error) {
	const interrupt, killLine = 0x03, 0x15
	n, err := k.File.Read(p)
	for i, b := range p[:n] {
		if b == interrupt {
			p[i] = killLine
		}
	}
	return n, err
}

// ReadLine reads a line; Ctrl-D on an empty line is the end.
func (t *Terminal) ReadLine(prompt string) (string, error) {
	before, err := term.MakeRaw(t.fd)
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(t.fd, before) }()
	if w, h, err := term.GetSize(t.fd); err == nil && w > 0 {
		_ = t.term.SetSize(w, h)
	}
	t.term.SetPrompt(prompt)
	line, err := t.term.ReadLine()
	if err == io.EOF {
		_, _ = t.term.Write([]byte("\n"))
	}
	return line, err
}
