package viprole

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
	dns := config.Key{Proto: config.UDP, Addr: netip.MustParseAddr("fd00::1"), Port: 53, Family: config.IPv6}
	for line, want := range map[string]Command{
		"":                               {Op: List},
		"--json":                         {Op: List, JSON: true},
		"-S":                             {Op: Save},
		"-t 10.0.0.1:80":                 {Op: List, Key: web},
		"-t 10.0.0.1:http -S":            {Op: Save, Key: web},
		"-t 10.0.0.1:80 host":            {Op: Set, Key: web, Role: config.VIPHost},
		"none --tcp-service=10.0.0.1:80": {Op: Set, Key: web, Role: config.VIPNone},
		"-u [fd00::1]:53 always":         {Op: Set, Key: dns, Role: config.VIPAlways},
		"-f 7 -6 default":                {Op: Set, Key: config.Key{Mark: 7, Family: config.IPv6}},
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
		if again, err := Parse(words[1:], ipvsadm.NewSystemNames()); words[0] != "vip" || err != nil || again != got {
			t.Errorf("%s is written as %q, which reads as %+v, %v", line, words, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, why := range map[string]string{
		"host":                       "needs a service",
		"-t 10.0.0.1:80 master":      `"master": a role is always, host, none or default`,
		"-t 10.0.0.1:80 host none":   "none: one role",
		"-t 10.0.0.1:80 host -S":     "set nothing",
		"-t 10.0.0.1:80 host --json": "set nothing",
		"-S --json":                  "-S or --json",
		"-t 10.0.0.1:80 -f 7 host":   "one service",
		"-t 10.0.0.1:80 --host":      "unknown flag",
	} {
		if _, err := Parse(strings.Fields(line), ipvsadm.NewSystemNames()); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want an error with %q", line, err, why)
		}
	}
}
