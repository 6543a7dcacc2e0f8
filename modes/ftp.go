package modes

import (
	"bytes"
	"net/netip"
	"strconv"
)

// FTPKind is what a line of an FTP control connection means to the data
// connection (RFC 959 section 4.1.2, RFC 2428).
type FTPKind uint8

// Kinds of lines: what clients ask for, and what servers answer.
const (
	FTPNone     FTPKind = iota
	FTPPassive          // PASV: the server is to listen
	FTPExtended         // EPSV: the same for any address family
	FTPActive           // PORT, EPRT: the client listens
	FTPEntering         // 227: where the server listens
	FTPEnteringExtended
)

// FTPLine is such a line.
type FTPLine struct {
	Kind FTPKind
	// Addr and Port are where somebody listens. Addr is the zero Addr where the
	// line has none, which means the sender's own.
	Addr netip.Addr
	Port uint16
	// Start and End are the bytes that say so, as offsets into the data.
	Start, End int
}

// FTPCommand reads the line that begins the data a client sends on a control
// connection. A line that is not whole, or of another family, is FTPNone.
func FTPCommand(data []byte, is4 bool) FTPLine {
	switch word, rest := ftpWord(data); {
	case is4 && word == "PASV":
		return FTPLine{Kind: FTPPassive}
	case word == "EPSV":
		return FTPLine{Kind: FTPExtended}
	case is4 && word == "PORT":
		return hostPort(data, rest, FTPActive)
	case word == "EPRT":
		return extended(data, rest, FTPActive, is4)
	}
	return FTPLine{}
}

// FTPReply reads the line that begins the data a server sends, if it answers a
// request of the kind asked.
func FTPReply(data []byte, asked FTPKind, is4 bool) FTPLine {
	switch {
	case asked == FTPPassive && bytes.HasPrefix(data, []byte("227 ")):
		// The parenthesis is customary, not required (RFC 1123 section 4.1.2.6).
		at := 4 + bytes.IndexAny(data[4:], "(0123456789\n")
		if at >= 4 && data[at] == '(' {
			at++
		}
		return hostPort(data, max(at, 4), FTPEntering)
	case asked == FTPExtended && bytes.HasPrefix(data, []byte("229 ")):
		if at := bytes.IndexByte(data, '('); at > 0 {
			return extended(data, at+1, FTPEnteringExtended, is4)
		}
	}
	return FTPLine{}
}

// ftpWord returns the first word of a line that is whole, in capitals, and where
// its argument begins.
func ftpWord(data []byte) (string, int) {
	if len(data) < 6 || !bytes.ContainsRune(data, '\n') {
		return "", 0
	}
	if data[4] != ' ' && data[4] != '\r' && data[4] != '\n' {
		return "", 0
	}
	at := 4
	for at < len(data) && data[at] == ' ' {
		at++
	}
	var word [4]byte
	for i := range word {
		word[i] = data[i] &^ 0x20
	}
	return string(word[:]), at
}

// hostPort reads h1,h2,h3,h4,p1,p2.
func hostPort(data []byte, at int, kind FTPKind) FTPLine {
	var n [6]uint8
	end := at
	for i := range n {
		if i > 0 {
			if end == len(data) || data[end] != ',' {
				return FTPLine{}
			}
			end++
		}
		v, next, ok := decimal(data, end, 255)
		if !ok {
			return FTPLine{}
		}
		n[i], end = uint8(v), next
	}
	if end == len(data) { // the number may go on in the next segment
		return FTPLine{}
	}
	port := uint16(n[4])<<8 | uint16(n[5])
	if port == 0 {
		return FTPLine{}
	}
	return FTPLine{Kind: kind, Addr: netip.AddrFrom4([4]byte(n[:4])), Port: port, Start: at, End: end}
}

// extended reads |family|address|port| with any delimiter. A reply leaves out
// family and address, a request must not.
func extended(data []byte, at int, kind FTPKind, is4 bool) FTPLine {
	if at >= len(data) || data[at] < 33 || data[at] > 126 {
		return FTPLine{}
	}
	delimiter := data[at]
	family, next := field(data, at+1, delimiter)
	address, next := field(data, next, delimiter)
	if next < 0 {
		return FTPLine{}
	}
	line := FTPLine{Kind: kind, Start: at}
	switch {
	case len(family) == 0 && len(address) == 0 && kind == FTPEnteringExtended:
	case is4 && string(family) == "1", !is4 && string(family) == "2":
		a, err := netip.ParseAddr(string(address))
		if err != nil || a.Is4() != is4 || a.Zone() != "" {
			return FTPLine{}
		}
		line.Addr = a
	default:
		return FTPLine{}
	}
	port, end, ok := decimal(data, next, 65535)
	if !ok || port == 0 || end == len(data) || data[end] != delimiter {
		return FTPLine{}
	}
	line.Port, line.End = uint16(port), end+1
	return line
}

// field returns the bytes up to the delimiter, of which an address needs no more
// than 45, and where the next field begins, -1 if there is none.
func field(data []byte, at int, delimiter byte) ([]byte, int) {
	if at < 0 {
		return nil, -1
	}
	n := bytes.IndexByte(data[at:min(len(data), at+46)], delimiter)
	if n < 0 {
		return nil, -1
	}
	return data[at : at+n], at + n + 1
}

// decimal reads a number of at most limit.
func decimal(data []byte, at, limit int) (v, end int, ok bool) {
	for end = at; end < len(data) && data[end] >= '0' && data[end] <= '9'; end++ {
		if v = v*10 + int(data[end]-'0'); v > limit || end-at > 5 {
			return 0, 0, false
		}
	}
	return v, end, end > at
}

// AppendFTP appends what a reply is to say in place of Start to End: that the
// server listens at addr and port.
func AppendFTP(b []byte, kind FTPKind, addr netip.Addr, port uint16) []byte {
	if kind == FTPEnteringExtended {
		b = append(b, "|||"...)
		b = strconv.AppendUint(b, uint64(port), 10)
		return append(b, '|')
	}
	for _, n := range addr.As4() {
		b = strconv.AppendUint(b, uint64(n), 10)
		b = append(b, ',')
	}
	b = strconv.AppendUint(b, uint64(port>>8), 10)
	b = append(b, ',')
	return strconv.AppendUint(b, uint64(port&255), 10)
}
