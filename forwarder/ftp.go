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

// ftpEnd is an end of a data connection that a line names, and where it does in
// the line. Addr is not valid where the line gives only a port.
type ftpEnd struct {
	netip.AddrPort
	at, n    int  // of the text that names it
	extended bool // in the form of RFC 2428
}

// ftpAnswer reads the server's answer to PASV or EPSV.
func ftpAnswer(line []byte) (ftpEnd, bool) {
	extended := hasWord(line, ftpExtPassive)
	if !extended && !hasWord(line, ftpPassive) {
		return ftpEnd{}, false
	}
	open, end := bytes.IndexByte(line, '('), bytes.IndexByte(line, ')')
	if open < 0 || end < open || bytes.IndexByte(line, '\n') < end {
		return ftpEnd{}, false
	}
	return ftpRead(line, open+1, end, extended)
}

// ftpCommand reads the client's PORT or EPRT.
func ftpCommand(line []byte) (ftpEnd, bool) {
	extended := hasWord(line, ftpExtPort)
	end := bytes.IndexAny(line, "\r\n")
	if !extended && !hasWord(line, ftpActive) || end < 0 {
		return ftpEnd{}, false
	}
	return ftpRead(line, len(ftpActive), end, extended)
}

// ftpAsks reports whether a client's line asks for a passive data connection.
func ftpAsks(line []byte) bool {
	return hasWord(line, "PASV\r\n") || hasWord(line, "EPSV\r\n")
}

func hasWord(line []byte, word string) bool {
	return len(line) >= len(word) && bytes.EqualFold(line[:len(word)], []byte(word))
}

func ftpRead(line []byte, from, to int, extended bool) (ftpEnd, bool) {
	text := string(line[from:to])
	a, ok := ftpNumbers(text)
	if extended {
		a, ok = ftpBars(text)
	}
	return ftpEnd{AddrPort: a, at: from, n: to - from, extended: extended}, ok && a.Port() != 0
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
