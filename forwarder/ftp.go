package forwarder

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
	ftpPassive    = "227 "
	ftpExtPassive = "229 "
	ftpActive     = "PORT "
	ftpExtPort    = "EPRT "
)

// ftpMode is how a client asked for a passive data connection.
type ftpMode uint8

const (
	ftpNone ftpMode = iota
	ftpPASV
	ftpEPSV
)

// ftpEnd is an end of a data connection that a line names, and where it does in
// the text. Addr is not valid where the line gives only a port.
type ftpEnd struct {
	netip.AddrPort
	line     int  // where the line begins
	at, n    int  // of what names it
	extended bool // in the form of RFC 2428
}

// ftpAnswer finds the server's answer to PASV or EPSV among the lines of a
// segment. IPVS looks at the first alone.
func ftpAnswer(text []byte, mode ftpMode) (ftpEnd, bool) {
	for at := 0; ; {
		line := text[at:]
		switch {
		case mode == ftpPASV && hasWord(line, ftpPassive):
			return ftpOldAnswer(text, at)
		case mode == ftpEPSV && hasWord(line, ftpExtPassive):
			return ftpExtAnswer(text, at)
		}
		next := bytes.IndexByte(line, '\n')
		if next < 0 {
			return ftpEnd{}, false
		}
		at += next + 1
	}
}

// ftpOldAnswer reads "227 Entering Passive Mode (10,1,0,1,200,10).", where the
// brackets may be missing, which RFC 1123 section 4.1.2.6 warns of.
func ftpOldAnswer(text []byte, line int) (ftpEnd, bool) {
	from := line + len(ftpPassive)
	for from < len(text) && text[from] != '\n' && !isDigit(text[from]) {
		from++
	}
	to := from
	for to < len(text) && (isDigit(text[to]) || text[to] == ',') {
		to++
	}
	if to == len(text) {
		return ftpEnd{}, false // it may go on in the next segment
	}
	return ftpRead(text, line, from, to, false)
}

// ftpExtAnswer reads "229 Entering Extended Passive Mode (|||51210|)".
func ftpExtAnswer(text []byte, line int) (ftpEnd, bool) {
	rest := text[line:]
	if n := bytes.IndexByte(rest, '\n'); n >= 0 {
		rest = rest[:n]
	}
	open, end := bytes.IndexByte(rest, '('), bytes.IndexByte(rest, ')')
	if open < 0 || end < open {
		return ftpEnd{}, false
	}
	return ftpRead(text, line, line+open+1, line+end, true)
}

// ftpCommand reads the client's PORT or EPRT.
func ftpCommand(line []byte) (ftpEnd, bool) {
	extended := hasWord(line, ftpExtPort)
	end := bytes.IndexAny(line, "\r\n")
	if !extended && !hasWord(line, ftpActive) || end < 0 {
		return ftpEnd{}, false
	}
	from := len(ftpActive)
	for from < end && line[from] == ' ' {
		from++
	}
	return ftpRead(line, 0, from, end, extended)
}

// ftpAsks says how a client's text asks for a passive data connection, if it
// does: anywhere in it, as IPVS has it. With EPSV may come the number of the
// network protocol, 1 for IPv4 and 2 for IPv6 (RFC 2428 section 3).
func ftpAsks(text []byte, is4 bool) ftpMode {
	family := byte('1')
	if !is4 {
		family = '2'
	}
	for at := range text {
		switch rest := text[at:]; {
		case is4 && hasWord(rest, "PASV\r\n"):
			return ftpPASV
		case hasWord(rest, "EPSV\r"), hasWord(rest, "EPSV ") && len(rest) > 6 && rest[5] == family && rest[6] == '\r':
			return ftpEPSV
		}
	}
	return ftpNone
}

func hasWord(line []byte, word string) bool {
	return len(line) >= len(word) && bytes.EqualFold(line[:len(word)], []byte(word))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func ftpRead(text []byte, line, from, to int, extended bool) (ftpEnd, bool) {
	name := string(text[from:to])
	a, ok := ftpNumbers(name)
	if extended {
		a, ok = ftpBars(name)
	}
	return ftpEnd{AddrPort: a, line: line, at: from, n: to - from, extended: extended}, ok && a.Port() != 0
}

// ftpNumbers reads "10,1,0,1,200,10".
func ftpNumbers(text string) (netip.AddrPort, bool) {
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

// ftpBars reads "|1|10.1.0.1|51210|", "|2|fd00::1|51210|" and "|||51210|" with
// any character for the bar.
func ftpBars(text string) (netip.AddrPort, bool) {
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

// text returns how an end is named in the place of e.
func (e *ftpEnd) text(to netip.AddrPort) []byte {
	if e.extended {
		return fmt.Appendf(nil, "|||%d|", to.Port())
	}
	a := to.Addr().As4()
	return fmt.Appendf(nil, "%d,%d,%d,%d,%d,%d", a[0], a[1], a[2], a[3], to.Port()>>8, to.Port()&0xff)
}
