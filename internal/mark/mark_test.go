package mark

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
)

func TestRulesOfIptablesAreUnderstood(t *testing.T) {
	for words, want := range map[string][]string{
		"-A -d 10.0.0.1 -p tcp --dport 80 --set-mark 1": {
			"-d 10.0.0.1/32 -p tcp --dport 80 --set-mark 1"},
		"-t mangle -A PREROUTING -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0xffffffff": {
			"-d 10.0.0.1/32 -p tcp --dport 80 --set-mark 1"},
		"-t mangle -A PREROUTING -p tcp -d 10.0.0.1 -m multiport --dports 80,443 -j MARK --set-mark 7": {
			"-d 10.0.0.1/32 -p tcp --dport 80 --set-mark 7", "-d 10.0.0.1/32 -p tcp --dport 443 --set-mark 7"},
		"-A -s 172.16.9.9/255.255.0.0 --set-mark 0":         {"-s 172.16.0.0/16 --set-mark 0"},
		"-A -p UDP --sport 1024: --dport :99 --set-mark 2":  {"-p udp --sport 1024:65535 --dport 0:99 --set-mark 2"},
		"--append --dst fd00::1 -p 132 --set-mark 0xffffff": {"-d fd00::1/128 -p sctp --set-mark 16777215"},
		"-D -d 0.0.0.0/0 -p tcp --destination-port 80:81 --set-mark 4294967295": {
			"-d 0.0.0.0/0 -p tcp --dport 80:81 --set-mark 4294967295"},
	} {
		c, err := Parse(strings.Fields(words))
		if err != nil {
			t.Errorf("%s: %v", words, err)
			continue
		}
		var got []string
		for _, r := range c.Rules {
			got = append(got, r.String())
			again, err := Parse(append([]string{"-A"}, strings.Fields(r.String())...))
			if err != nil || len(again.Rules) != 1 || again.Rules[0] != r {
				t.Errorf("%s is read as %v, %v", r, again.Rules, err)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", words, diff)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for words, want := range map[string]string{
		"-A -d 10.0.0.1":                          "--set-mark is missing",
		"-A -d vip --set-mark 1":                  "-d vip: an address",
		"-A -d 10.0.0.1/33 --set-mark 1":          `"33" is no mask`,
		"-A -d 10.0.0.1/255.0.255.0 --set-mark 1": `"255.0.255.0" is no mask`,
		"-A -p icmp --set-mark 1":                 "-p icmp: tcp, udp, sctp or all",
		"-A --dport 80 --set-mark 1":              "ports need a protocol",
		"-A -p tcp --dport 80:70 --set-mark 1":    "neither a port nor a range",
		"-A -p tcp --dport 0 --set-mark 1":        "neither a port nor a range",
		"-A -s fd00::1 -d 10.0.0.1 --set-mark 1":  "not of the destination's family",
		"-A -d ::ffff:10.0.0.1 --set-mark 1":      "no address of a packet",
		"-A --set-mark 1/0xff":                    "without a mask",
		"-A -L":                                   "one of -A, -D",
		"-A POSTROUTING --set-mark 1":             "POSTROUTING: no such word",
		"-t nat -L":                               "--table nat: here it can be mangle",
		"-A ! -s 10.0.0.1 --set-mark 1":           "!: no such word",
		"-A -i eth0 --set-mark 1":                 "unknown shorthand flag: 'i'",
	} {
		if _, err := Parse(strings.Fields(words)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", words, err, want)
		}
	}
}

func TestListing(t *testing.T) {
	var rules []config.MarkRule
	for _, words := range []string{
		"-A -d 10.0.0.1 -p tcp --dport 80 --set-mark 1",
		"-A -s 10.0.0.0/8 -p udp --sport 53 --dport 1024:2000 --set-mark 255",
		"-A -s fd00::1 --set-mark 0",
	} {
		c, err := Parse(strings.Fields(words))
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, c.Rules...)
	}
	var b bytes.Buffer
	if err := Print(&b, rules); err != nil {
		t.Fatal(err)
	}
	want := `num  mark  prot  source      destination  ports
1    0x1   tcp   anywhere    10.0.0.1     dpt:80
2    0xff  udp   10.0.0.0/8  anywhere     spt:53 dpt:1024:2000
3    0x0   all   fd00::1     anywhere     
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
