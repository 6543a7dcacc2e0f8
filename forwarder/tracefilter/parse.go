package tracefilter

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// SyntaxError is what is wrong with the text of a filter.
type SyntaxError struct {
	Text    string
	Column  int // of the word, from 1
	Problem string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("column %d: %s", e.Column, e.Problem)
}

// Parse reads a filter. An empty text gives nil, which matches everything. Its error is a
// *SyntaxError.
//
//	[src|dst] host A, [src|dst] net A/N, [src|dst] port N, [src|dst] portrange N-M
//	ip, ip6, arp, tcp, udp, sctp, icmp, icmp6, ah, esp, proto N
//	flags syn,ack (these, whatever else), tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn
//	less N, greater N, on INTERFACE
//	verdict NAME, verdict drop, service NAME, server A[:N], client A[:N]
//	request, reply, new
//
// joined by and, or, not and parentheses.
func Parse(text string) (*Filter, error) {
	p := parser{text: text, words: scan(text)}
	if len(p.words) == 0 {
		return nil, nil
	}
	root, err := p.chain()
	if err == nil && p.at < len(p.words) {
		err = p.fail("%q is too much here; join conditions with and, or", p.words[p.at].text)
	}
	if err != nil {
		return nil, err
	}
	return &Filter{text: text, root: root, needs: needed(root)}, nil
}

type parser struct {
	text  string
	words []word
	at    int
	last  string // what a bare value after and, or means, as in "port 80 or 443"
	dir   direction
	depth int
}

func (p *parser) fail(format string, args ...any) error {
	column := len(p.text) + 1
	if p.at < len(p.words) {
		column = p.words[p.at].column
	}
	return &SyntaxError{Text: p.text, Column: column, Problem: fmt.Sprintf(format, args...)}
}

// peek returns the next word, "" at the end.
func (p *parser) peek() string {
	if p.at < len(p.words) {
		return p.words[p.at].text
	}
	return ""
}

// take skips the next word if it is one of some.
func (p *parser) take(some ...string) bool {
	if p.at < len(p.words) && slices.Contains(some, p.words[p.at].text) {
		p.at++
		return true
	}
	return false
}

// chain reads conditions joined by and, or, which bind alike, from left to right, as
// tcpdump's do.
func (p *parser) chain() (node, error) {
	left, err := p.one()
	for err == nil {
		isAnd := p.take("and", "&&")
		if !isAnd && !p.take("or", "||") {
			break
		}
		var right node
		if right, err = p.one(); isAnd {
			left = &and{left, right}
		} else {
			left = &or{left, right}
		}
	}
	return left, err
}

// maxDepth bounds how deep conditions may be nested.
const maxDepth = 100

func (p *parser) one() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("it is nested too deeply")
	}
	defer func() { p.depth-- }()
	switch {
	case p.take("not", "!"):
		of, err := p.one()
		return not{of}, err
	case p.take("("):
		in, err := p.chain()
		if err == nil && !p.take(")") {
			err = p.fail("a closing parenthesis is missing")
		}
		return in, err
	}
	return p.primitive()
}

// simple are the conditions of one word.
var simple = map[string]node{
	"ip": etherType(frame.EtherIPv4), "ip6": etherType(frame.EtherIPv6), "arp": etherType(frame.EtherARP),
	"tcp": protocol(frame.ProtoTCP), "udp": protocol(frame.ProtoUDP), "sctp": protocol(frame.ProtoSCTP),
	"icmp": protocol(frame.ProtoICMP), "icmp6": protocol(frame.ProtoICMPv6), "ah": protocol(frame.ProtoAH), "esp": protocol(frame.ProtoESP),
	"request": side{}, "reply": side{reply: true}, "new": opening{},
}

const known = "host, net, port, proto, flags, verdict, service, server, client, request, reply"

func (p *parser) primitive() (node, error) {
	w := p.peek()
	if n := simple[w]; n != nil {
		p.at++
		if next := p.peek(); !slices.Contains([]string{"src", "dst", "host", "net", "port", "portrange"}, next) {
			return n, nil
		}
		more, err := p.primitive() // "tcp port 80", as tcpdump has it
		return &and{n, more}, err
	}
	switch {
	case w == "":
		return nil, p.fail("a condition is missing, such as: host 10.0.0.1")
	case w == "tcp[tcpflags]":
		p.at++
		return p.masked()
	case w == "src" || w == "dst":
		p.at++
		p.dir, p.last = source, "host"
		if w == "dst" {
			p.dir = destination
		}
		if k := p.peek(); takesDirection[k] {
			p.at++
			p.last = k
		}
		return p.value()
	case takesValue[w]:
		p.at++
		p.dir, p.last = either, w
		return p.value()
	case p.last != "" && p.isValue(w):
		return p.value()
	case p.isAddress(w):
		p.dir, p.last = either, "host"
		return p.value()
	}
	return nil, p.fail("%q is not known; expected one of %s", w, known)
}

var (
	takesDirection = map[string]bool{"host": true, "net": true, "port": true, "portrange": true}
	takesValue     = map[string]bool{
		"host": true, "net": true, "port": true, "portrange": true, "proto": true, "flags": true, "less": true, "greater": true,
		"on": true, "verdict": true, "service": true, "server": true, "client": true,
	}
)

func (p *parser) isAddress(w string) bool {
	_, err := netip.ParseAddr(w)
	return err == nil
}

// isValue reports whether a word can be another value of the condition before it.
func (p *parser) isValue(w string) bool {
	switch p.last {
	case "host":
		return p.isAddress(w)
	case "port":
		_, err := strconv.ParseUint(w, 10, 16)
		return err == nil
	case "net":
		return strings.Contains(w, "/")
	case "verdict":
		return isVerdict(w)
	}
	return false
}

// value reads the value of the condition at hand.
func (p *parser) value() (node, error) {
	w := p.peek()
	if w == "" || strings.ContainsAny(w, "()&|=!") {
		return nil, p.fail("%s needs a value", p.last)
	}
	n, problem := p.make(w)
	if problem != "" {
		return nil, p.fail("%s", problem)
	}
	p.at++
	return n, nil
}

func (p *parser) make(w string) (node, string) {
	switch p.last {
	case "host":
		a, err := netip.ParseAddr(w)
		if err != nil {
			return nil, fmt.Sprintf("%q is no address", w)
		}
		return newNetwork(p.dir, netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen())), ""
	case "net":
		n, err := netip.ParsePrefix(w)
		if err != nil {
			return nil, fmt.Sprintf("%q is no network, such as 10.0.0.0/24", w)
		}
		return newNetwork(p.dir, n), ""
	case "port", "portrange":
		return p.ports(w)
	case "proto":
		return protocolOf(w)
	case "flags":
		mask, problem := flagsOf(strings.ReplaceAll(w, "+", ","), ",", "")
		return flags{mask: mask, value: mask}, problem
	case "less", "greater":
		n, err := strconv.ParseUint(w, 10, 31)
		if err != nil {
			return nil, fmt.Sprintf("%q is no number of bytes", w)
		}
		return length{int(n), p.last == "greater"}, ""
	case "on":
		return onLink(w), ""
	}
	return p.known(w)
}

// known makes a condition about what the director knows.
func (p *parser) known(w string) (node, string) {
	switch p.last {
	case "verdict":
		switch {
		case w == "drop":
			return verdict(""), ""
		case !isVerdict(w):
			return nil, fmt.Sprintf("%q is no verdict; see docs/verdicts.md, or: verdict drop", w)
		}
		return verdict(w), ""
	case "service":
		if _, err := netip.ParseAddrPort(w); err == nil {
			return &or{inService("tcp:" + w), &or{inService("udp:" + w), inService("sctp:" + w)}}, ""
		}
		k, err := config.ParseKey(w)
		if err != nil {
			return nil, fmt.Sprintf("%q is no service, such as tcp:10.0.0.1:80 or mark:7", w)
		}
		return inService(k.Normal().Name()), ""
	}
	e := end{server: p.last == "server"}
	if a, err := netip.ParseAddr(w); err == nil {
		e.addr = a.Unmap()
		return e, ""
	}
	a, err := netip.ParseAddrPort(w)
	if err != nil {
		return nil, fmt.Sprintf("%q is neither an address nor an address with a port", w)
	}
	e.addr, e.port = a.Addr().Unmap(), a.Port()
	return e, ""
}
