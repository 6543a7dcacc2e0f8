package check

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

func TestParse(t *testing.T) {
	web := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80, Family: config.IPv4}
	dns := config.Key{Proto: config.UDP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 53, Family: config.IPv4}
	mark := config.Key{Mark: 7, Family: config.IPv6}
	at := netip.MustParseAddrPort("[fd00::1]:80")
	for line, want := range map[string]Command{
		"":                                 {Op: Now},
		"--json":                           {Op: Now, JSON: true},
		"-t 10.0.0.1:80 --http /health":    {Op: Now, Key: web, Check: &config.Check{Kind: config.CheckHTTP, Path: "/health"}},
		"list":                             {Op: List},
		"list -S -t 10.0.0.1:80":           {Op: List, Save: true, Key: web},
		"add -t 10.0.0.1:80":               {Op: Add, Key: web, Check: &config.Check{Kind: config.CheckTCP}},
		"add -u 10.0.0.1:53":               {Op: Add, Key: dns, Check: &config.Check{Kind: config.CheckUDP}},
		"add -f 7 -6 --to [fd00::1]:80":    {Op: Add, Key: mark, Check: &config.Check{Kind: config.CheckTCP, To: at}},
		"add -t 10.0.0.1:80 --interval 1s": {Op: Add, Key: web, Check: &config.Check{Kind: config.CheckTCP, Interval: 1000}},
		"-t 10.0.0.1:80 --timeout 9s":      {Op: Now, Key: web, Check: &config.Check{Kind: config.CheckTCP, Timeout: 9000}},
		"add -t 10.0.0.1:80 --passive":     {Op: Add, Key: web, Check: &config.Check{Kind: config.CheckPassive}},
		"add -t 10.0.0.1:80 --https / --host a.example --status 200,301-302 --interval 1s --timeout 300ms --rise 1 --fall 9 --act hold --at-most 30%": {
			Op: Add, Key: web, Check: &config.Check{Kind: config.CheckHTTPS, Path: "/", Host: "a.example", Status: "200,301-302",
				Interval: 1000, Timeout: 300, Rise: 1, Fall: 9, Act: config.ActHold, AtMost: 30}},
		`add -t 10.0.0.1:80 --send a\x20\\\n --expect "b" --source 10.0.0.9`: {
			Op: Add, Key: web, Check: &config.Check{Kind: config.CheckTCP, Send: "a \\\n", Expect: `"b"`, Source: netip.MustParseAddr("10.0.0.9")}},
		"delete -t 10.0.0.1:80":        {Op: Delete, Key: web},
		"delete -t 10.0.0.1:80 --http": {},
	} {
		got, err := Parse(strings.Fields(line), ipvsadm.NewSystemNames())
		if want == (Command{}) && line != "" {
			if err == nil {
				t.Errorf("%s is accepted", line)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
		if got.Op != Add {
			continue
		}
		words := strings.Fields(ipvsadm.FormatCommand(got.Config()))
		again, err := Parse(words[1:], ipvsadm.NewSystemNames())
		if err != nil || again.Op != Add || again.Check.Full() != got.Check.Full() || again.Key != got.Key {
			t.Errorf("%s is written as %q, which reads as %+v, %v", line, words, again.Check, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, why := range map[string]string{
		"add":                                           "needs a service",
		"delete":                                        "needs a service",
		"add -t 10.0.0.1:80 --udp":                      "udp does not ask a service of tcp",
		"add -u 10.0.0.1:53 --http /":                   "http does not ask a service of udp",
		"add -t 10.0.0.1:80 --http / --tcp":             "one of --tcp",
		"add -t 10.0.0.1:80 --http health":              "does not begin with /",
		"add -t 10.0.0.1:80 --http / --send x":          "of tcp and udp",
		"add -t 10.0.0.1:80 --host x":                   "of http and https",
		"add -t 10.0.0.1:80 --http / --status ok":       "is not like 200-299,401",
		"add -t 10.0.0.1:80 --at-most 101%":             "from 1% to 100%",
		"add -t 10.0.0.1:80 --act drop":                 "show or hold",
		"add -t 10.0.0.1:80 --interval 1us":             "between 10ms and a day",
		"add -t 10.0.0.1:80 --timeout 6s":               "longer than the interval of 5000 ms",
		"add -t 10.0.0.1:80 --interval 1s --timeout 2s": "longer than the interval of 1000 ms",
		"-t 10.0.0.1:80 --timeout 31s":                  "longer than asking once may take, 30s",
		"add -t 10.0.0.1:80 --passive --interval 100ms": "1 s at least",
		"add -t 10.0.0.1:80 --passive --expect x":       "asks nothing",
		"add -t 10.0.0.1:80 --to 10.0.0.2:80":           "not the service's address",
		"add -t 10.0.0.1:80 --source fd00::1":           "not of the service's family",
		`add -t 10.0.0.1:80 --send a\q`:                 "not followed by",
		"add -f 7":                                      "needs the address and port to ask",
		"-t 10.0.0.1:80 --act hold":                     "does not act",
		"list --http /":                                 "list takes",
		"list -S --json":                                "-S or --json",
		"add -t 10.0.0.1:80 --json":                     "--json is of list",
		"add this":                                      "what for?",
		"show":                                          "add, list or delete",
	} {
		if _, err := Parse(strings.Fields(line), ipvsadm.NewSystemNames()); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want an error with %q", line, err, why)
		}
	}
}
