// Package mark reads and writes the rules that give packets firewall marks, in the
// syntax of iptables(8). The arguments that one would give iptables for IPVS,
//
//	iptables -t mangle -A PREROUTING -d 10.0.0.1 -p tcp --dport 80 -j MARK --set-mark 1
//
// work after "uvs mark", with or without those that have only one possible value there
// (-t mangle, PREROUTING, -j MARK, -m tcp). AF_PACKET sees packets before netfilter does,
// so a director cannot see marks that iptables sets.
//
// Matches are -s, -d (address or network), -p (tcp, udp, sctp, all), --sport and --dport
// (a port or a range), --sports and --dports (a list of them). Nothing can be negated, and
// host names are not resolved.
//
// The package only reads and writes text; the director matches packets. It keeps no
// state.
package mark

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"uvs/forwarder/config"
)

// Op is what a command line asks for.
type Op byte

// Operations, by the letters of iptables.
const (
	Append Op = 'A'
	Delete Op = 'D'
	Flush  Op = 'F'
	List   Op = 'L'
	Save   Op = 'S' // --list-rules
)

// Command is a parsed command line.
type Command struct {
	Op    Op
	JSON  bool              // of List
	Rules []config.MarkRule // of Append and Delete: one for each combination of listed ports
}

// words are the values of the options on a command line.
type words struct {
	ops                  [5]bool
	src, dst, proto      string
	sports, dports, mark string
	json                 bool
}

var operations = []struct {
	op          Op
	name, usage string
}{
	{Append, "append", "append a rule"},
	{Delete, "delete", "delete the rule that is written just so"},
	{Flush, "flush", "delete all rules"},
	{List, "list", "list the rules"},
	{Save, "list-rules", "list the rules as commands"},
}

// flags returns the options; parsing them fills w.
func flags(w *words) *pflag.FlagSet {
	f := pflag.NewFlagSet("mark", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	for i, o := range operations {
		f.BoolVarP(&w.ops[i], o.name, string(o.op), false, o.usage)
	}
	f.StringVarP(&w.src, "source", "s", "", "source `ADDRESS[/MASK]`")
	f.StringVarP(&w.dst, "destination", "d", "", "destination `ADDRESS[/MASK]`")
	f.StringVarP(&w.proto, "protocol", "p", "all", "`PROTOCOL`: tcp, udp, sctp or all")
	f.StringVar(&w.sports, "sport", "", "source `PORT[:PORT]`, several separated by commas")
	f.StringVar(&w.dports, "dport", "", "destination `PORT[:PORT]`, several separated by commas")
	f.StringVar(&w.mark, "set-mark", "", "the `MARK`, decimal or 0x hexadecimal")
	f.BoolVar(&w.json, "json", false, "list as JSON")
	f.BoolP("numeric", "n", true, "accepted for iptables' sake: listings are numeric")
	for _, word := range [][2]string{{"table", "t"}, {"jump", "j"}, {"match", "m"}} {
		f.StringP(word[0], word[1], "", "")
		_ = f.MarkHidden(word[0])
	}
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if full, ok := aliases[name]; ok {
			name = full
		}
		return pflag.NormalizedName(name)
	})
	return f
}

var aliases = map[string]string{
	"src": "source", "dst": "destination", "proto": "protocol", "set-xmark": "set-mark",
	"source-port": "sport", "destination-port": "dport", "sports": "sport", "dports": "dport",
	"source-ports": "sport", "destination-ports": "dport",
}

// Usage describes the options.
func Usage() string { return flags(&words{}).FlagUsages() }

// Parse reads a command line without the word mark. An empty one is a List. The error is
// pflag.ErrHelp for --help.
func Parse(args []string) (Command, error) {
	var w words
	f := flags(&w)
	if err := f.Parse(args); err != nil {
		return Command{}, err
	}
	if err := checkFixedWords(f); err != nil {
		return Command{}, err
	}
	c := Command{Op: List}
	given := 0
	for i, o := range operations {
		if w.ops[i] {
			c.Op = o.op
			given++
		}
	}
	if given > 1 {
		return c, errors.New("one of -A, -D, -F, -L and -S at a time")
	}
	if c.JSON = w.json; c.JSON && c.Op != List {
		return c, errors.New("--json goes with -L")
	}
	if c.Op != Append && c.Op != Delete {
		return c, nil
	}
	var err error
	c.Rules, err = w.rules()
	return c, err
}

// checkFixedWords checks the arguments that can have one value only.
func checkFixedWords(f *pflag.FlagSet) error {
	for name, can := range map[string]string{"table": "mangle", "jump": "MARK", "match": "tcp udp sctp multiport mark"} {
		value := f.Lookup(name).Value.String()
		if value != "" && !strings.Contains(" "+can+" ", " "+value+" ") {
			return fmt.Errorf("--%s %s: here it can be %s", name, value, strings.ReplaceAll(can, " ", ", "))
		}
	}
	if f.NArg() > 1 || f.NArg() == 1 && f.Arg(0) != "PREROUTING" {
		return fmt.Errorf("%s: no such word here", f.Arg(0))
	}
	return nil
}

// rules returns the rules a command line stands for.
func (w *words) rules() ([]config.MarkRule, error) {
	var r config.MarkRule
	var err error
	if r.Src, err = parsePrefix("-s", w.src); err != nil {
		return nil, err
	}
	if r.Dst, err = parsePrefix("-d", w.dst); err != nil {
		return nil, err
	}
	if w.proto != "all" && w.proto != "0" {
		if err := r.Proto.UnmarshalText([]byte(protoName(w.proto))); err != nil {
			return nil, fmt.Errorf("-p %s: tcp, udp, sctp or all", w.proto)
		}
	}
	if r.Mark, err = parseMark(w.mark); err != nil {
		return nil, err
	}
	sports, err := parsePorts("--sport", w.sports)
	if err != nil {
		return nil, err
	}
	dports, err := parsePorts("--dport", w.dports)
	if err != nil {
		return nil, err
	}
	return combine(r, sports, dports)
}

func protoName(text string) string {
	if name, ok := map[string]string{"6": "tcp", "17": "udp", "132": "sctp"}[text]; ok {
		return name
	}
	return strings.ToLower(text)
}

// parseMark reads a mark, which may have iptables' mask of all ones.
func parseMark(text string) (uint32, error) {
	if text == "" {
		return 0, errors.New("--set-mark is missing")
	}
	value, mask, masked := strings.Cut(text, "/")
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil || masked && !strings.EqualFold(mask, "0xffffffff") {
		return 0, fmt.Errorf("--set-mark %s: a number from 0 to 4294967295, without a mask", text)
	}
	return uint32(n), nil
}

// parsePrefix reads an address, or a network with a prefix length or a mask such as
// 255.255.255.0.
func parsePrefix(option, text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	address, mask, masked := strings.Cut(text, "/")
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%s %s: an address such as 10.0.0.1 or a network such as 10.0.0.0/8", option, text)
	}
	if !masked {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	bits, err := strconv.Atoi(mask)
	if err != nil {
		bits, err = maskBits(mask)
	}
	if err != nil || bits < 0 || bits > a.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%s %s: %q is no mask", option, text, mask)
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}
