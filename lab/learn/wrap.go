package learn

import (
	"strings"
	"unicode"
)

// columns returns how many columns of a terminal a text takes: Chinese characters and their
// punctuation take two each (Unicode Standard Annex 11).
func columns(text string) (n int) {
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	if unicode.Is(unicode.Han, r) || r >= 0x3000 && r <= 0x303f || r >= 0xff00 && r <= 0xff60 {
		return 2
	}
	return 1
}

// wrap breaks the lines of a text at a width: at spaces, and between Chinese characters. A
// line that begins with a space is left as it is.
func wrap(text string, width int) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, " ") {
			out = append(out, line)
			continue
		}
		out = append(out, wrapLine(line, width)...)
	}
	return strings.Join(out, "\n")
}

func wrapLine(line string, width int) (out []string) {
	current, wide := "", 0
	for _, piece := range pieces(line) {
		n := columns(strings.TrimRight(piece, " "))
		if wide > 0 && wide+n > width {
			out = append(out, strings.TrimRight(current, " "))
			current, wide = "", 0
		}
		current += piece
		wide += columns(piece)
	}
	return append(out, strings.TrimRight(current, " "))
}

// pieces cuts a line where it may be broken: after spaces, and beside a Chinese character,
// but not before punctuation that closes nor after one that opens.
func pieces(line string) (all []string) {
	runes := []rune(line)
	start := 0
	for i := 1; i < len(runes); i++ {
		if mayBreak(runes[i-1], runes[i]) {
			all = append(all, string(runes[start:i]))
			start = i
		}
	}
	return append(all, string(runes[start:]))
}

func mayBreak(before, after rune) bool {
	if after == ' ' {
		return false
	}
	if before == ' ' {
		return true
	}
	if columnsOf(before) == 1 && columnsOf(after) == 1 {
		return false
	}
	return !strings.ContainsRune("，。；：、！？）】》”’%", after) && !strings.ContainsRune("（【《“‘", before)
}
