package policy

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
		"":                                      {Op: List},
		"-S":                                    {Op: Save},
		"-t 10.0.0.1:80":                        {Op: List, Key: web},
		"-t 10.0.0.1:http -S":                   {Op: Save, Key: web},
		"-t 10.0.0.1:80 --gone drop":            {Op: Set, Key: web},
		"-t 10.0.0.1:80 --gone reset":           {Op: Set, Key: web, Policy: config.Policy{Gone: config.GoneReset}},
		"--gone icmp --drain 30 -t 10.0.0.1:80": {Op: Set, Key: web, Policy: config.Policy{Gone: config.GoneICMP, Drain: 30}},
		"--tcp-service 10.0.0.1:80 --drain=1h":  {Op: Set, Key: web, Policy: config.Policy{Drain: 3600}},
		"-u [fd00::1]:53 --udp-reschedule":      {Op: Set, Key: config.Key{Proto: config.UDP, Addr: netip.MustParseAddr("fd00::1"), Port: 53, Family: config.IPv6}, Policy: config.Policy{Reschedule: true}},
		"-f 7 --drain 0":                        {Op: Set, Key: config.Key{Mark: 7, Family: config.IPv4}},
		"-f -1 --drain 0":                       {Op: Set, Key: config.Key{Mark: 1<<32 - 1, Family: config.IPv4}},
		"-f 7 -6 --gone reset":                  {Op: Set, Key: config.Key{Mark: 7, Family: config.IPv6}, Policy: config.Policy{Gone: config.GoneReset}},
		"--sctp-service 10.0.0.1:80 --drain 2m": {Op: Set, Key: config.Key{Proto: config.SCTP, Addr: web.Addr, Port: 80, Family: config.IPv4}, Policy: config.Policy{Drain: 120}},
	} {
		got, err := Parse(strings.Fields(line), ipvsadm.NewSystemNames())
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, why := range map[string]string{
		"--gone reset":                            "needs a service",
		"-t 10.0.0.1:80 --gone never":             "drop, reset or icmp",
		"-t 10.0.0.1:80 --drain soon":             "no time",
		"-t 10.0.0.1:80 --drain -1s":              "no time",
		"-t 10.0.0.1:80 --drain 1500ms":           "no time",
		"-t 10.0.0.1:80 --drain 745h":             "no time",
		"-t 10.0.0.1:80 -S --gone reset":          "sets nothing",
		"-t 10.0.0.1:80 -u 10.0.0.1:53 --drain 1": "one service",
		"-t 10.0.0.1:99999 --drain 1":             "10.0.0.1:99999",
		"-t 10.0.0.1:80 reset":                    "no such word",
		"-t 10.0.0.1:80 -6 --drain 1":             "-t 10.0.0.1:80 -6: -6 used before -f",
		"-f many --drain 1":                       "-f many: invalid fwmark value `many' specified",
		"-t nowhere -u nowhere --drain 1":         "one service",
		"-t 10.0.0.1:80 --away":                   "unknown flag",
	} {
		if _, err := Parse(strings.Fields(line), ipvsadm.NewSystemNames()); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want an error with %q", line, err, why)
		}
	}
}

// TestLinesAreReadAgain: what is listed as commands sets the same policies.
func TestLinesAreReadAgain(t *testing.T) {
	services := []config.ServiceState{
		{Service: config.Service{Key: config.Key{Mark: 7, Family: config.IPv6}, Policy: config.Policy{Gone: config.GoneICMP, Drain: 90, Reschedule: true}}},
		{Service: config.Service{Key: config.Key{Mark: 8, Family: config.IPv4}}},
	}
	lines := Lines(services)
	if len(lines) != 1 {
		t.Fatalf("%q, want one line for the service that has a policy", lines)
	}
	c, err := Parse(strings.Fields(lines[0])[1:], ipvsadm.NewSystemNames())
	if err != nil || c.Key != services[0].Key || c.Policy != services[0].Policy {
		t.Errorf("%s is read as %+v, %v", lines[0], c, err)
	}
}
