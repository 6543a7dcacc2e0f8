package tracefilter

import (
	"fmt"
	"strconv"
	"strings"

	"uvs/forwarder/frame"
)

type word struct {
	text   string
	column int
}

// scan splits a text into words. Signs are words of their own.
func scan(text string) (all []word) {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			i++
		case strings.IndexByte("()", c) >= 0:
			all = append(all, word{text[i : i+1], i + 1})
			i++
		case strings.IndexByte("&|=!", c) >= 0:
			n := 1
			if i+1 < len(text) && (text[i+1] == c || c == '!' && text[i+1] == '=') {
				n = 2
			}
			all = append(all, word{text[i : i+n], i + 1})
			i += n
		default:
			n := strings.IndexAny(text[i:], " \t\n()&|=!")
			if n < 0 {
				n = len(text) - i
			}
			all = append(all, word{text[i : i+n], i + 1})
			i += n
		}
	}
	return all
}

func (p *parser) ports(w string) (node, string) {
	low, high, isRange := strings.Cut(w, "-")
	if p.last == "port" || !isRange {
		high = low
	}
	from, err := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	if err != nil || err2 != nil || from > to || p.last == "port" && isRange {
		return nil, fmt.Sprintf("%q is no %s from 0 to 65535", w, map[string]string{"port": "port", "portrange": "range of ports"}[p.last])
	}
	return &ports{p.dir, uint16(from), uint16(to)}, ""
}

func protocolOf(w string) (node, string) {
	if n, ok := simple[w].(protocol); ok {
		return n, ""
	}
	n, err := strconv.ParseUint(w, 10, 8)
	if err != nil {
		return nil, fmt.Sprintf("%q is no protocol", w)
	}
	return protocol(n), ""
}

func isVerdict(w string) bool {
	for v := range frame.Verdict(frame.Verdicts) {
		if v != frame.Continue && v.String() == w {
			return true
		}
	}
	return false
}

var flagBits = map[string]uint8{
	"fin": frame.FlagFIN, "syn": frame.FlagSYN, "rst": frame.FlagRST, "push": frame.FlagPSH, "psh": frame.FlagPSH, "ack": frame.FlagACK, "urg": frame.FlagURG,
}

// flagsOf reads names of flags.
func flagsOf(w, between, prefix string) (mask uint8, problem string) {
	for _, name := range strings.Split(w, between) {
		bit, ok := flagBits[strings.TrimPrefix(strings.ToLower(name), prefix)]
		if !ok {
			return 0, fmt.Sprintf("%q is no flag of TCP: syn, ack, fin, rst, psh, urg", name)
		}
		mask |= bit
	}
	return mask, ""
}

// masked reads what follows tcp[tcpflags].
func (p *parser) masked() (node, error) {
	n := flags{mask: 0xff}
	var err error
	if p.take("&") {
		if n.mask, err = p.bits(); err != nil {
			return nil, err
		}
	}
	switch {
	case p.take("=", "=="):
	case p.take("!="):
		n.differ = true
	default:
		return nil, p.fail("== or != is missing, as in: tcp[tcpflags] & tcp-syn != 0")
	}
	n.value, err = p.bits()
	return n, err
}

// bits reads a number, or names of flags joined by |.
func (p *parser) bits() (mask uint8, err error) {
	open := p.take("(")
	for {
		w := p.peek()
		if v, err := strconv.ParseUint(w, 0, 8); err == nil {
			mask |= uint8(v)
		} else if bit, problem := flagsOf(w, "\x00", "tcp-"); problem == "" {
			mask |= bit
		} else {
			return 0, p.fail("%s", problem)
		}
		p.at++
		if !p.take("|") {
			break
		}
	}
	if open && !p.take(")") {
		return 0, p.fail("a closing parenthesis is missing")
	}
	return mask, nil
}
