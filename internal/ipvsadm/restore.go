package ipvsadm

import (
	"bufio"
	"context"
	"io"
	"strings"
)

// restore does the commands on standard input, one a line. A command that fails
// is reported and the next one done; words that make no command end it.
func (t *Tool) restore(ctx context.Context) error {
	lines := bufio.NewReaderSize(t.Stdin, 1<<16)
	for {
		line, err := lines.ReadString('\n')
		if words := t.words(line); len(words) > 0 {
			r, err := t.parse(words)
			if err := t.perform(ctx, r, err); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return failure(err.Error())
		}
	}
}

// words splits a line at blanks; there is no quoting. A word ends at a NUL
// byte. The program's own name before the words is left out.
func (t *Tool) words(line string) []string {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) })
	for i, word := range words {
		words[i], _, _ = strings.Cut(word, "\x00")
	}
	for len(words) > 0 && words[0] == t.Program {
		words = words[1:]
	}
	return words
}
