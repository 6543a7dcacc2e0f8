package rules

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/sched"
)

// noNames knows no names.
type noNames struct{}

func (noNames) Host(string) (netip.Addr, bool)             { return netip.Addr{}, false }
func (noNames) HostOf(netip.Addr) (string, bool)           { return "", false }
func (noNames) Port(string, config.Proto) (uint16, bool)   { return 0, false }
func (noNames) PortOf(uint16, config.Proto) (string, bool) { return "", false }

func parse(t interface{ Fatal(...any) }, text string) *Rules {
	r, err := Parse(strings.NewReader(text), noNames{}, controltest.New())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func format(t interface{ Fatal(...any) }, r *Rules) string {
	var b bytes.Buffer
	if err := Format(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const everything = `# Rules of a uvs director (docs/rules.md)
--set 900 120 300
sysctl net.ipv4.vs.conn_reuse_mode=0
sysctl net.ipv4.vs.sloppy_tcp=1
--start-daemon master --mcast-interface eth0 --syncid 9 --sync-maxlen 1400 --mcast-group 224.0.0.9 --mcast-port 9000 --mcast-ttl 3
mark -F
mark -A -d 10.0.0.1/32 -p tcp --dport 80 --set-mark 7
mark -A -s 172.16.0.0/12 --set-mark 0
-A -t 10.0.0.1:80 -s sh -p 360 -M 255.255.255.0 -b flag-1,flag-3
--add-laddr -t 10.0.0.1:80 --laddr 10.0.0.7
--add-laddr -t 10.0.0.1:80 --laddr 10.0.0.8
policy -t 10.0.0.1:80 --gone reset --drain 30s --udp-reschedule
-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 3 -x 100 -y 50
-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 0
-a -t 10.0.0.1:80 -r 10.1.0.3:81 --fullnat -w 2147483647
-a -t 10.0.0.1:80 -r [fd00::1]:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-A -u 10.0.0.1:5060 -s wlc -M 255.255.0.0 --pe sip -o
-A -f 4294967295 -s rr
-A -f 7 -6 -s rr -p 9 -M 64
synproxy -f 7 -6 on
-A --sctp-service [fd00::1]:9 -s none
`

func TestFormatLosesNothing(t *testing.T) {
	if diff := cmp.Diff(everything, format(t, parse(t, everything))); diff != "" {
		t.Error(diff)
	}
}

func TestSavedTextIsARulesFile(t *testing.T) {
	r := parse(t, `
-A -f -1 -s rr
  # a comment
-A -t 10.0.0.1:80 -s sh -b sh-fallback,sh-port
-a -t 10.0.0.1:80 -r 10.1.0.1:80 -i -w 1 --tun-type ipip
ipvsadm -e -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 2
`)
	if r.Services[0].Mark != 4294967295 || r.Services[1].Flags != sched.Flag1|sched.Flag2 ||
		r.Services[1].Servers[0].Method != sched.Masq || r.Timeouts != (config.Timeouts{}) {
		t.Errorf("read as %+v", r)
	}
}

func TestMistakesNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"-A -t 10.0.0.1:80\n\nfoo":                     "line 3: this is not a rule such as -A -t 10.0.0.1:80 -s rr",
		"mark -L":                                      "line 1: of mark a rules file has -A and -F only",
		"\nsysctl net.ipv4.vs.foo=1":                   "line 2: there is no net.ipv4.vs.foo; uvs sysctl -a lists those there are",
		"sysctl net.ipv4.vs.sloppy_tcp=2":              `line 1: "2" is not from 0 to 1`,
		"sysctl net.ipv4.ip_forward=1":                 "line 1: a parameter is set like net.ipv4.vs.NAME=VALUE",
		"-L -n":                                        "line 1: -L is no rule",
		"-A -t 10.0.0.1":                               "line 1: Zero port specified for non-persistent service",
		"-A -t 10.0.0.1:80 -s nosuch":                  `line 1: no such scheduler or persistence engine: sched: no scheduler "nosuch"`,
		"# x\n-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80":    "line 3: -t 10.0.0.1:80: service exists",
		"-A -t 10.0.0.1:80 --frob":                     "line 1: --frob: unknown option",
		"-a -t 10.0.0.1:80 -r 10.1.0.1":                "line 1: -t 10.0.0.1:80: no such service",
		"--start-daemon master\n--start-daemon master": "line 2: a second master daemon",
	} {
		if _, err := Parse(strings.NewReader(text), noNames{}, controltest.New()); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func TestDiffChangesOnlyWhatDiffers(t *testing.T) {
	current := parse(t, everything)
	wanted := parse(t, strings.NewReplacer(
		"-r 10.1.0.1:8080 -m -w 3 -x 100 -y 50", "-r 10.1.0.1:8080 -m -w 4 -x 100 -y 50",
		"-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 0\n", "",
		"--laddr 10.0.0.8", "--laddr 10.0.0.9",
		"-A -f 4294967295 -s rr", "-A -f 4294967295 -s lc",
		"-A -f 7 -6 -s rr -p 9 -M 64\nsynproxy -f 7 -6 on\n", "-A -f 8 -s rr\n-a -f 8 -r 10.1.0.1:0 -m -w 1\n",
		"--set 900 120 300", "--set 900 60 300",
		"--syncid 9", "--syncid 8",
		"sloppy_tcp=1", "sloppy_tcp=0",
		"mark -A -s 172.16.0.0/12 --set-mark 0\n", "",
	).Replace(everything))
	want := []string{
		"-D -f 7 -6",
		"--del-laddr -t 10.0.0.1:80 --laddr 10.0.0.8",
		"--add-laddr -t 10.0.0.1:80 --laddr 10.0.0.9",
		"-d -t 10.0.0.1:80 -r 10.1.0.2:80",
		"-e -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 4 -x 100 -y 50",
		"-E -f 4294967295 -s lc",
		"-A -f 8 -s rr",
		"-a -f 8 -r 10.1.0.1:0 -m -w 1",
		"sysctl net.ipv4.vs.sloppy_tcp=0",
		"mark -F",
		"mark -A -d 10.0.0.1/32 -p tcp --dport 80 --set-mark 7",
		"--set 0 60 0",
		"--stop-daemon master",
		"--start-daemon master --mcast-interface eth0 --syncid 8 --sync-maxlen 1400 --mcast-group 224.0.0.9 --mcast-port 9000 --mcast-ttl 3",
	}
	if diff := cmp.Diff(want, Diff(current, wanted).Lines()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAFileDoesNotMentionStays(t *testing.T) {
	current := parse(t, everything)
	wanted := parse(t, strings.Join(strings.Split(everything, "\n")[8:], "\n"))
	if p := Diff(current, wanted); len(p.Lines()) > 0 {
		t.Errorf("plan %q, want nothing to do", p.Lines())
	}
}

// For any two configurations the plan turns one into the other, and afterwards there is nothing
// left to do.
func TestDiffReachesWhatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		current, wanted := anyRules(t), anyRules(t)
		table := controltest.New()
		for _, p := range []*Plan{Diff(&Rules{}, current), Diff(current, wanted)} {
			for i, err := range table.Apply(p.Commands, true) {
				if err != nil {
					t.Fatalf("%q: %v", p.Lines()[i], err)
				}
			}
		}
		got := &Rules{Services: ServicesOf(table.Services())}
		if p := Diff(got, wanted); len(p.Lines()) > 0 {
			t.Fatalf("left to do: %q", p.Lines())
		}
	})
}

func anyRules(t *rapid.T) *Rules {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	var text strings.Builder
	for _, service := range []string{"-t 10.0.0.1:80", "-u 10.0.0.1:80", "-f 7", "-f 7 -6"} {
		if pick("service", "yes", "no") == "no" {
			continue
		}
		text.WriteString("-A " + service + " -s " + pick("scheduler", "rr", "sh") +
			pick("persistence", "", " -p 60") + pick("flags", "", " -b flag-1") + "\n")
		text.WriteString(pick("policy", "", "policy "+service+" --gone reset\n", "policy "+service+" --drain 30 --udp-reschedule\n"))
		methods := []string{" -m", " -i"}
		if !strings.HasPrefix(service, "-u") && pick("synproxy", "on", "off") == "on" {
			text.WriteString("synproxy " + service + " on\n")
			methods = methods[:1]
		}
		for _, server := range []string{"10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80"} {
			if strings.HasSuffix(service, "-6") {
				server = "[fd00::" + server[7:8] + "]:80"
			}
			if pick("server", "yes", "no") == "yes" {
				text.WriteString("-a " + service + " -r " + server + pick("method", methods...) + pick("weight", " -w 1", " -w 2") + "\n")
			}
		}
	}
	return parse(t, text.String())
}

func FuzzParse(f *testing.F) {
	f.Add(everything)
	if text, err := os.ReadFile("../ipvsadm/testdata/cli.jsonl"); err == nil {
		f.Add(string(text[:min(len(text), 4096)]))
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(strings.NewReader(text), noNames{}, controltest.New())
		if err != nil {
			return
		}
		again, err := Parse(strings.NewReader(format(t, r)), noNames{}, controltest.New())
		if err != nil {
			t.Fatalf("what Format wrote is no rules file: %v\n%s", err, format(t, r))
		}
		if p := Diff(r, again); len(p.Lines()) > 0 {
			t.Fatalf("Format lost something: %q", p.Lines())
		}
	})
}
