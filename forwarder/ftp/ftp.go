// Package ftp reads the lines of FTP's control connections that name a data
// connection (RFC 959, RFC 2428): where it will be, and in which form a line says
// so. It knows no packets and keeps nothing; its functions are safe for concurrent
// use.
package ftp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The words of FTP's control connection that tell where a data connection will
// be (RFC 959, RFC 2428).
const (
	passive    = "227 "
	extPassive = "229 "
	active     = "PORT "
	extPort    = "EPRT "
)

// Mode is how a client asked for a passive data connection.
type Mode uint8

// Ways to ask.
const (
	None Mode = iota
	PASV
	EPSV
)

// End is an end of a data connection that a line names, and where it does in
// the text. Addr is not valid where the line gives only a port.
type End struct {
	netip.AddrPort
	Line     int  // where the line begins
	At, Len  int  // of what names it
	extended bool // in the form of RFC 2428
}

// Answer finds the server's answer to PASV or EPSV among the lines of a
// segment. IPVS looks at the first alone.
func Answer(text []byte, mode Mode) (End, bool) {
	for at := 0; ; {
		line := text[at:]
		switch {
		case mode == PASV && hasWord(line, passive):
			return oldAnswer(text, at)
		case mode == EPSV && hasWord(line, extPassive):
			return extAnswer(text, at)
		}
		next := bytes.IndexByte(line, '\n')
		if next < 0 {
			return End{}, false
		}
		at += next + 1
	}
}

// oldAnswer reads "227 Entering Passive Mode (10,1,0,1,200,10).", where the
// brackets may be missing, which RFC 1123 section 4.1.2.6 warns of.
func oldAnswer(text []byte, line int) (End, bool) {
	from := line + len(passive)
	for from < len(text) && text[from] != '\n' && !isDigit(text[from]) {
		from++
	}
	to := from
	for to < len(text) && (isDigit(text[to]) || text[to] == ',') {
		to++
	}
	if to == len(text) {
		return End{}, false // it may go on in the next segment
	}
	return read(text, line, from, to, false)
}

// extAnswer reads "229 Entering Extended Passive Mode (|||51210|)".
func extAnswer(text []byte, line int) (End, bool) {
	rest := text[line:]
	if n := bytes.IndexByte(rest, '\n'); n >= 0 {
		rest = rest[:n]
	}
	open, end := bytes.IndexByte(rest, '('), bytes.IndexByte(rest, ')')
	if open < 0 || end < open {
		return End{}, false
	}
	return read(text, line, line+open+1, line+end, true)
}

// Command reads the client's PORT or EPRT.
func Command(line []byte) (End, bool) {
	extended := hasWord(line, extPort)
	end := bytes.IndexAny(line, "\r\n")
	if !extended && !hasWord(line, active) || end < 0 {
		return End{}, false
	}
	from := len(active)
	for from < end && line[from] == ' ' {
		from++
	}
	return read(line, 0, from, end, extended)
}

// Asks says how a client's text asks for a passive data connection, if it
// does: anywhere in it, as IPVS has it. With EPSV may come the number of the
// network protocol, 1 for IPv4 and 2 for IPv6 (RFC 2428 section 3).
func Asks(text []byte, is4 bool) Mode {
	family := byte('1')
	if !is4 {
		family = '2'
	}
	for at := range text {
		switch rest := text[at:]; {
		case is4 && hasWord(rest, "PASV\r\n"):
			return PASV
		case hasWord(rest, "EPSV\r"), hasWord(rest, "EPSV ") && len(rest) > 6 && rest[5] == family && rest[6] == '\r':
			return EPSV
		}
	}
	return None
}

func hasWord(line []byte, word string) bool {
	return len(line) >= len(word) && bytes.EqualFold(line[:len(word)], []byte(word))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func read(text []byte, line, from, to int, extended bool) (End, bool) {
	name := string(text[from:to])
	a, ok := numbers(name)
	if extended {
		a, ok = bars(name)
	}
	return End{AddrPort: a, Line: line, At: from, Len: to - from, extended: extended}, ok && a.Port() != 0
}

// numbers reads "10,1,0,1,200,10".
func numbers(text string) (netip.AddrPort, bool) {
	parts := strings.Split(text, ",")
	if len(parts) != 6 {
		return netip.AddrPort{}, false
	}
	var b [6]byte
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return netip.AddrPort{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), true
}

// bars reads "|1|10.1.0.1|51210|", "|2|fd00::1|51210|" and "|||51210|" with
// any character for the bar.
func bars(text string) (netip.AddrPort, bool) {
	if len(text) < 5 {
		return netip.AddrPort{}, false
	}
	parts := strings.Split(text, text[:1])
	if len(parts) != 5 || parts[0] != "" || parts[4] != "" {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(parts[3], 10, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddr(parts[2])
	if known := parts[1] != ""; known != (err == nil) {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, uint16(port)), true
}

// Text returns how an end is named in the place of e.
func (e *End) Text(to netip.AddrPort) []byte {
	if e.extended {
		return fmt.Appendf(nil, "|||%d|", to.Port())
	}
	a := to.Addr().As4()
	return fmt.Appendf(nil, "%d,%d,%d,%d,%d,%d", a[0], a[1], a[2], a[3], to.Port()>>8, to.Port()&0xff)
}
