package synproxy

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
	for line, want := range map[string]Command{
		"":                              {Op: List},
		"--json":                        {Op: List, JSON: true},
		"-S":                            {Op: Save},
		"-t 10.0.0.1:80":                {Op: List, Key: web},
		"-t 10.0.0.1:http -S":           {Op: Save, Key: web},
		"-t 10.0.0.1:80 on":             {Op: Set, Key: web, On: true},
		"off --tcp-service=10.0.0.1:80": {Op: Set, Key: web},
		"-f 7 -6 on":                    {Op: Set, Key: config.Key{Mark: 7, Family: config.IPv6}, On: true},
	} {
		got, err := Parse(strings.Fields(line), ipvsadm.NewSystemNames())
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
		if got.Op != Set {
			continue
		}
		words := strings.Fields(ipvsadm.FormatCommand(got.Config()))
		if again, err := Parse(words[1:], ipvsadm.NewSystemNames()); words[0] != "synproxy" || err != nil || again != got {
			t.Errorf("%s is written as %q, which reads as %+v, %v", line, words, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, why := range map[string]string{
		"on":                           "needs a service",
		"-t 10.0.0.1:80 yes":           "yes: on or off",
		"-t 10.0.0.1:80 on on":         "on or off, once",
		"-t 10.0.0.1:80 on -S":         "set nothing",
		"-t 10.0.0.1:80 on --json":     "set nothing",
		"-S --json":                    "-S or --json",
		"-t 10.0.0.1:80 -f 7 on":       "one service",
		"-u 10.0.0.1:53 on":            "only tcp services and marks",
		"--sctp-service 10.0.0.1:9 on": "only tcp services and marks",
		"-t 10.0.0.1:99999 on":         "10.0.0.1:99999",
		"-t 10.0.0.1:80 --on":          "unknown flag",
	} {
		if _, err := Parse(strings.Fields(line), ipvsadm.NewSystemNames()); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want an error with %q", line, err, why)
		}
	}
}
