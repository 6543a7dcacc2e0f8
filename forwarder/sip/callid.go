// Package sip finds the Call-ID of SIP messages, by which a service with --pe sip
// is persistent, where IPVS finds it (ip_vs_pe_sip.c). Its function is safe for
// concurrent use and keeps nothing.
package sip

import (
	"bytes"
)

// MaxCallID is the length of the longest Call-ID that persistence takes, in
// bytes (ip_vs.h, IP_VS_PEDATA_MAXLEN).
const MaxCallID = 255

// CallID returns the Call-ID of a SIP message (RFC 3261 section 20.8), or nil:
// the word or word@word after the first header line of that name, compact form
// included, with a line end right behind it. It finds what IPVS finds
// (ip_vs_pe_sip.c, nf_conntrack_sip.c, ct_sip_get_header), so a header in the
// first line is not seen, nor one behind a line that only begins like it.
func CallID(message []byte) []byte {
	for from := 0; ; {
		at, n := callIDValue(message, from)
		switch end := at + n; {
		case at == 0, n > MaxCallID:
			return nil
		case n > 0 && end < len(message) && isLineEnd(message[end]):
			return message[at:end]
		case n > 0:
			return nil
		}
		// Without a value the search goes on; it adds one offset to the other, as
		// there.
		from += at
	}
}

// callIDValue finds the next header line after from: where its value begins, 0
// if there is none, and the value's length, 0 if it has not the right form.
func callIDValue(m []byte, from int) (at, n int) {
	for i := from; i < len(m); i++ {
		if !isLineEnd(m[i]) {
			continue
		}
		if i = nextLine(m, i); i >= len(m) {
			return 0, 0
		}
		name := callIDName(m[i:])
		if name == 0 {
			continue
		}
		colon := skipBlanks(m, i+name)
		if colon >= len(m) || m[colon] != ':' || colon+1 >= len(m) {
			return 0, 0
		}
		if at = skipBlanks(m, colon+1); at > len(m) {
			return 0, 0
		}
		return at, callIDLen(m[at:])
	}
	return 0, 0
}

// callIDName returns the length of the header's name at the beginning of a
// line, 0 if it is another.
func callIDName(line []byte) int {
	const name = "Call-ID"
	switch {
	case len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name)):
		return len(name)
	case len(line) > 1 && line[0]|0x20 == 'i' && !isLetter(line[1]):
		return 1
	}
	return 0
}

// callIDLen returns the length of a Call-ID at the beginning of b, 0 for none.
func callIDLen(b []byte) int {
	n := wordLen(b)
	if n == 0 || n == len(b) || b[n] != '@' {
		return n
	}
	host := wordLen(b[n+1:])
	if host == 0 {
		return 0
	}
	return n + 1 + host
}

func wordLen(b []byte) int {
	for i, c := range b {
		if !isLetter(c) && (c < '0' || c > '9') && bytes.IndexByte([]byte("-.!%*_+`'~()<>:\\\"/[]?{}"), c) < 0 {
			return i
		}
	}
	return len(b)
}

// nextLine returns where the line after the line end at i begins: CR, LF or
// both.
func nextLine(m []byte, i int) int {
	if i+1 < len(m) && m[i] == '\r' && m[i+1] == '\n' {
		return i + 2
	}
	return i + 1
}

// skipBlanks returns where the blanks at i end, one continuation of the line
// included, and more than len(m) if the line ends there.
func skipBlanks(m []byte, i int) int {
	i = skipSpaces(m, i)
	if i >= len(m) || !isLineEnd(m[i]) {
		return i
	}
	if i = nextLine(m, i); i >= len(m) || !isBlank(m[i]) {
		return len(m) + 1
	}
	return skipSpaces(m, i)
}

func skipSpaces(m []byte, i int) int {
	for i < len(m) && isBlank(m[i]) {
		i++
	}
	return i
}

func isLineEnd(c byte) bool { return c == '\r' || c == '\n' }
func isBlank(c byte) bool   { return c == ' ' || c == '\t' }

// isLetter reports whether a byte is a letter of Latin 1, as the kernel has it.
func isLetter(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0xc0 && c != 0xd7 && c != 0xf7
}
