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

// wordLen is the length of ipvsadm's buffer for a word of a restored line;
// longer ones fall apart.
const wordLen = 4096

// words splits a line at blanks; there is no quoting. A word ends at a NUL
// byte. The program's name is left out wherever it stands.
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
