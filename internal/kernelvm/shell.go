package kernelvm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Shell is a VM that runs commands until Close. Run and Close may not be called by two
// goroutines at once.
type Shell struct {
	dir   string // where commands go, and answers come from
	asked int
	said  bytes.Buffer // to be read when the VM has ended
	ended chan struct{}
	err   error // why; nil before
}

// shellScript runs what the files of $OUT say, one after the other. An empty one ends it.
const shellScript = `
n=1
while :; do
	if [ -e $OUT/$n.ask ]; then
		[ -s $OUT/$n.ask ] || exit 0
		sh -e $OUT/$n.ask >$OUT/$n.said 2>&1
		echo $? >$OUT/$n.new
		mv $OUT/$n.new $OUT/$n.status
		n=$((n+1))
	fi
	sleep 0.05
done
`

// Shell boots the VM and returns before it is up. The VM needs a directory Out, and ends by
// Close or when ctx ends.
func (vm VM) Shell(ctx context.Context) *Shell {
	s := &Shell{dir: vm.Out, ended: make(chan struct{})}
	vm.Output = &s.said
	go func() {
		defer close(s.ended)
		s.err = vm.Run(ctx, "sh", "-c", shellScript)
	}()
	return s
}

// Run has a shell run commands in the VM until one fails, and returns what they print. The
// error of a command that failed is an *ExitError.
func (s *Shell) Run(commands string) (string, error) {
	s.asked++
	if err := s.ask(commands); err != nil {
		return "", err
	}
	for {
		status, err := os.ReadFile(s.file("status"))
		if err == nil {
			return s.answer(strings.TrimSpace(string(status)))
		}
		select {
		case <-s.ended:
			return "", fmt.Errorf("kernelvm: the VM has ended (%w); it said:\n%s", cmp.Or(s.err, errors.New("powered off")), &s.said)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// answer returns what the commands said that ended with a status.
func (s *Shell) answer(status string) (string, error) {
	said, err := os.ReadFile(s.file("said"))
	if err != nil {
		return "", fmt.Errorf("kernelvm: %w", err)
	}
	n, err := strconv.Atoi(status)
	if err != nil {
		return "", fmt.Errorf("kernelvm: status %q: %w", status, err)
	}
	if n != 0 {
		return string(said), &ExitError{n}
	}
	return string(said), nil
}

// ask writes the next file, whole.
func (s *Shell) ask(commands string) error {
	err := os.WriteFile(s.file("new"), []byte(commands), 0o666)
	if err == nil {
		err = os.Rename(s.file("new"), s.file("ask"))
	}
	if err != nil {
		return fmt.Errorf("kernelvm: %w", err)
	}
	return nil
}

func (s *Shell) file(suffix string) string {
	return filepath.Join(s.dir, strconv.Itoa(s.asked)+"."+suffix)
}

// Close ends the VM and returns what went wrong in it.
func (s *Shell) Close() error {
	s.asked++
	if err := s.ask(""); err != nil {
		return err
	}
	<-s.ended
	if s.err != nil {
		return fmt.Errorf("%w; it said:\n%s", s.err, &s.said)
	}
	return nil
}
