package ipvsadm

import (
	"bufio"
	"context"
	"io"
	"strings"
)

// restore runs the commands on standard input, one a line. It reports a command that fails
// and continues; invalid arguments end it.
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

// wordLen is the length of ipvsadm's buffer for a word of a restored line, in bytes; longer
// words are split.
const wordLen = 4096

// words splits a line at blanks; there is no quoting. A word ends at a NUL byte. The word
// ipvsadm is left out anywhere.
func (t *Tool) words(line string) (words []string) {
	blank := func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }
	for word := range strings.FieldsFuncSeq(line, blank) {
		for len(word) > wordLen {
			words, word = append(words, word[:wordLen]), word[wordLen:]
		}
		word, _, _ = strings.Cut(word, "\x00")
		if word != "ipvsadm" {
			words = append(words, word)
		}
	}
	return words
}
