package lab_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uvs/forwarder/config"
	"uvs/lab"
	"uvs/lab/labtest"
)

// virtualOf returns the address and port of the lab's service.
func virtualOf(t *testing.T, l *lab.Lab) string {
	t.Helper()
	_, address, _ := strings.Cut(strings.TrimSuffix(url(l, "/"), "/"), "//")
	if !strings.HasSuffix(address, ":80") {
		address += ":80"
	}
	return address
}

// A dry run foretells the server of the next connection in every mode, however often it is
// asked, and whether the answer comes back.
func TestADryRunForetellsTheServer(t *testing.T) {
	for mode, answers := range map[string]bool{"nat": true, "dr": false, "tun": false, "fullnat": true} {
		t.Run(mode, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, mode, lab.Options{}))
			virtual := virtualOf(t, l)
			for range 2 {
				var first config.Explanation
				for i := range 3 {
					var e config.Explanation
					out := labtest.Exec(t, l, "director", "uvs", "explain", "--dry", "--json", "tcp", "172.16.253.36:5000", virtual)
					if err := json.Unmarshal([]byte(out), &e); err != nil {
						t.Fatal(err)
					}
					if i == 0 {
						first = e
					}
					if e.Server != first.Server || e.Virtual.String() != virtual || (e.Reply != nil) != answers {
						t.Fatalf("foretold %s, then %s, with an answer: %t\n%s", first.Server, e.Server, e.Reply != nil, out)
					}
				}
				before := labtest.Exec(t, l, "director", "ipvsadm", "-Lnc")
				if _, err := l.Get("client", url(l, "/")); err != nil {
					t.Fatal(err)
				}
				after := labtest.Exec(t, l, "director", "ipvsadm", "-Lnc")
				if strings.Count(after, first.Server.String()) != strings.Count(before, first.Server.String())+1 {
					t.Errorf("foretold %s, and then\n%s", first.Server, after)
				}
			}
		})
	}
}

// while runs a command on the director while a client makes requests, until it ends.
func while(t *testing.T, l *lab.Lab, words ...string) string {
	t.Helper()
	type result struct {
		out string
		err error
	}
	done := make(chan result)
	go func() {
		out, err := l.Exec("director", words...)
		done <- result{out, err}
	}()
	for deadline := time.After(30 * time.Second); ; {
		if _, err := l.Get("client", url(l, "/")); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-done:
			if r.err != nil {
				t.Fatalf("%s: %v\n%s", strings.Join(words, " "), r.err, r.out)
			}
			return r.out
		case <-deadline:
			t.Fatalf("%s does not end", strings.Join(words, " "))
		default:
		}
	}
}

func TestATraceIsFollowedSavedAndShown(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "fullnat", lab.Options{}))
	virtual := virtualOf(t, l)
	follow := while(t, l, "uvs", "trace", "follow")
	for _, want := range []string{" by fullnat\n", "request  eth0  tcp 172.16.253.36:", "> " + virtual + " SYN", "reply    eth1  tcp ", "FIN,ACK"} {
		if !strings.Contains(follow, want) {
			t.Errorf("what was followed lacks %q:\n%s", want, follow)
		}
	}
	paths := while(t, l, "uvs", "trace", "paths", "30", "tcp", "port", "80")
	if !strings.Contains(paths, "rx → service → sched.") && !strings.Contains(paths, "conn.hit → neigh → rewrite.fullnat → tx") {
		t.Errorf("paths:\n%s", paths)
	}
	file := filepath.Join(t.TempDir(), "web.pcapng")
	while(t, l, "uvs", "trace", "save", file, "20", "client", "172.16.253.36")
	text := labtest.Exec(t, l, "director", "uvs", "trace", "show", file)
	for _, want := range []string{"  eth0 in  ", "  eth1 out  ", "  eth1 in  ", "  eth0 out  ", "ip.dst     " + strings.TrimSuffix(virtual, ":80"), "as it left"} {
		if !strings.Contains(text, want) {
			t.Errorf("the saved trace lacks %q", want)
		}
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("without tshark nobody else has read the capture")
		return
	}
	out, err := exec.Command(tshark, "-r", file, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "eth0 in\t#") || !strings.Contains(string(out), "eth1 out\t#") {
		t.Errorf("tshark reads\n%.2000s", out)
	}
}

func TestDropsAreShownWithWhatToDo(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	labtest.Exec(t, l, "director", "sysctl", "-w", "net.ipv4.vs.drop_packet=3", "net.ipv4.vs.am_droprate=1")
	_, _ = l.Exec("client", "curl", "-s", "-m", "1", url(l, "/"))
	out := labtest.Exec(t, l, "director", "uvs", "drops")
	for _, want := range []string{" drop-overload\n", "last     ", " tcp 172.16.253.36:", "cause    ", "fix      "} {
		if !strings.Contains(out, want) {
			t.Errorf("uvs drops lacks %q:\n%s", want, out)
		}
	}
}
