package ipvsadm

import (
	"strconv"
	"strings"
)

// cSpace are the characters that isspace(3) accepts in the C locale.
const cSpace = " \t\n\v\f\r"

// number reads a decimal number from least to most as strtol(3) does: leading space and a
// sign are allowed; an empty text and trailing characters are not.
func number(text string, least, most int64) (int64, bool) {
	text = strings.TrimLeft(text, cSpace)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, false
	}
	return n, true
}

// leadingNumber reads the number at the beginning of a text, as atoi(3) does.
func leadingNumber(text string) int64 {
	text = strings.TrimLeft(text, cSpace)
	end := len(text)
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (i > 0 || c != '-' && c != '+') {
			end = i
			break
		}
	}
	n, err := strconv.ParseInt(text[:end], 10, 32)
	if err != nil {
		return 0
	}
	return n
}
