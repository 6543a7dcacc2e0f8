package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Batch is a list of commands for the control API.
type Batch struct {
	Commands []Command `json:"commands"`
	// Atomic makes a batch that would fail do nothing; else the commands that
	// fail are left out and the others carried out.
	Atomic bool `json:"atomic,omitempty"`
}

// BatchResult tells how the commands of a batch ended.
type BatchResult struct {
	// Problems has an entry for each command, in order: null if it went well.
	// An atomic batch that would fail ends with the first problem.
	Problems []*Problem `json:"problems"`
}

// Problem is an error in the control API.
type Problem struct {
	Code    string `json:"code"`            // see Code
	Field   string `json:"field,omitempty"` // JSON path of the value that was wrong
	Message string `json:"message"`
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// Unwrap returns the error of this package that the code stands for, so that
// errors.Is works on both sides of the API.
func (p *Problem) Unwrap() error { return ErrorOf(p.Code) }

// ProblemOf returns err in the form of the control API, nil for nil.
func ProblemOf(err error) *Problem {
	if err == nil {
		return nil
	}
	p := &Problem{Code: Code(err), Message: err.Error()}
	var field *FieldError
	if errors.As(err, &field) {
		p.Field = field.Field
	}
	return p
}

// About tells who answers on a control socket.
type About struct {
	Program string `json:"program"` // uvs
	Version string `json:"version"`
	API     int    `json:"api"` // version of the control API
	PID     int    `json:"pid"` // as the director's PID namespace counts
}

// Name returns the key in the form of the control API's paths: "tcp:10.0.0.1:80",
// "udp:[fd00::1]:53", "mark:7", "mark:7:ipv6".
func (k Key) Name() string {
	if k.Mark != 0 {
		if k.Family == IPv6 {
			return fmt.Sprintf("mark:%d:ipv6", k.Mark)
		}
		return fmt.Sprintf("mark:%d", k.Mark)
	}
	proto, _ := k.Proto.MarshalText()
	return string(proto) + ":" + netip.AddrPortFrom(k.Addr, k.Port).String()
}

// ParseKey reads what Name writes, in normal form.
func ParseKey(name string) (Key, error) {
	kind, rest, ok := strings.Cut(name, ":")
	if !ok {
		return Key{}, wrong("service", "%q is not like tcp:10.0.0.1:80 or mark:7", name)
	}
	if kind == "mark" {
		return parseMark(rest)
	}
	var k Key
	if err := k.Proto.UnmarshalText([]byte(kind)); err != nil {
		return Key{}, wrong("service", "%s", err)
	}
	addr, err := netip.ParseAddrPort(rest)
	if err != nil {
		return Key{}, wrong("service", "%s", err)
	}
	k.Addr, k.Port = addr.Addr(), addr.Port()
	return k.Normal(), k.Validate()
}

func parseMark(text string) (Key, error) {
	number, family, hasFamily := strings.Cut(text, ":")
	k := Key{Family: IPv4}
	if hasFamily {
		if err := k.Family.UnmarshalText([]byte(family)); err != nil {
			return Key{}, wrong("service", "%s", err)
		}
	}
	mark, err := strconv.ParseUint(number, 10, 32)
	if err != nil || mark == 0 {
		return Key{}, wrong("service", "%q is not a firewall mark from 1 to 4294967295", number)
	}
	k.Mark = uint32(mark)
	return k, nil
}
