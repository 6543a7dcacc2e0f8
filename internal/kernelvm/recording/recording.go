// Package recording makes recordings of the real kernel's behaviour. A recording is a line of
// JSON with a question and its answer: a Trace, of a scheduler, a Life, of a connection, a
// Story, of packets, or an Invocation of ipvsadm.
// Ask plays the questions on a kernel in a VM and returns the lines with its answers; the
// module's tests replay the same lines against the director.
package recording

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"uvs/internal/kernelvm"
)

// played is the first argument of this program when it runs in the VM.
const played = "play-recordings"

// Ask boots vm, plays the questions, lines of JSON, and returns the lines with the answers. A
// command that ipvsadm refuses is reported on vm.Output and is not an error. Inside must be
// the first call in the program's main or TestMain.
func Ask(ctx context.Context, vm kernelvm.VM, questions []byte) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	vm.Out, err = os.MkdirTemp("", "kernelvm-")
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	defer os.RemoveAll(vm.Out)
	if err := os.WriteFile(filepath.Join(vm.Out, "questions"), questions, 0o644); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	var output bytes.Buffer
	if vm.Output == nil {
		vm.Output = &output
	}
	if err := vm.Run(ctx, self, played); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, &output)
	}
	return os.ReadFile(filepath.Join(vm.Out, "answers"))
}

// Inside plays the recordings and ends the process if Ask started it in a VM; otherwise it
// does nothing.
func Inside() {
	if len(os.Args) != 2 || os.Args[1] != played {
		return
	}
	if err := playFiles(os.Getenv("OUT")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func playFiles(dir string) error {
	// The kernel loads the other modules itself when they are first used.
	if _, err := command("", "modprobe", "-a", "tun", "ip_vs"); err != nil {
		return err
	}
	questions, err := os.Open(filepath.Join(dir, "questions"))
	if err != nil {
		return err
	}
	defer questions.Close()
	answers, err := os.Create(filepath.Join(dir, "answers"))
	if err != nil {
		return err
	}
	if err := play(questions, answers); err != nil {
		return err
	}
	return answers.Close()
}

// question is a line that can be answered.
type question interface {
	// ask asks the kernel and sets the answers. ident is the IPv4 identification of the
	// last packet.
	ask(ident *uint16) error
}

// play answers the lines in order, each in a testbed of its own.
func play(questions io.Reader, answers io.Writer) error {
	var ident uint16
	lines := bufio.NewScanner(questions)
	lines.Buffer(nil, 1<<24)
	for n := 1; lines.Scan(); n++ {
		q, err := parse(lines.Bytes())
		if err == nil {
			err = q.ask(&ident)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		b, err := format(q, lines.Bytes())
		if err != nil {
			return err
		}
		if _, err := answers.Write(b); err != nil {
			return err
		}
	}
	return lines.Err()
}

// parse reads a line, whose form its members tell.
func parse(line []byte) (question, error) {
	var o object
	if err := json.Unmarshal(line, &o); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	var q question
	switch {
	case o.has("argv"):
		return &Invocation{o}, nil
	case o.has("frames"):
		return &Story{o}, nil
	case o.has("rows"):
		q = &Life{}
	default:
		q = &Trace{}
	}
	if err := json.Unmarshal(line, q); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	return q, nil
}

// format formats a recording as a line, with a space after each comma and colon if the
// question has them, so that only answers can differ.
func format(q question, asked []byte) ([]byte, error) {
	var plain, spaced bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(q); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	if !bytes.Contains(asked, []byte(`": `)) {
		return plain.Bytes(), nil
	}
	if err := json.Indent(&spaced, bytes.TrimSpace(plain.Bytes()), "", ""); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	// A string has no newline, so that all of them are between values.
	line := bytes.ReplaceAll(spaced.Bytes(), []byte(",\n"), []byte(", "))
	line = bytes.ReplaceAll(line, []byte("\n"), nil)
	return append(line, '\n'), nil
}
