package lab_test

import (
	"strings"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
)

// The commands for a kernel director work on ours: its parameters through sysctl, whether or not
// the host has that tool.
func TestSysctlReachesTheDirector(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	for _, c := range []struct{ words, want string }{
		{"sysctl -w net.ipv4.vs.expire_nodest_conn=1", "net.ipv4.vs.expire_nodest_conn = 1\n"},
		{"uvs sysctl net/ipv4/vs/expire_nodest_conn", "net/ipv4/vs/expire_nodest_conn = 1\n"},
		{"sysctl -n net.ipv4.ip_forward", "1\n"},
	} {
		if got := labtest.Exec(t, l, "director", strings.Fields(c.words)...); got != c.want {
			t.Errorf("%s printed %q, want %q", c.words, got, c.want)
		}
	}
	if out, err := l.Exec("director", "sysctl", "-w", "net.ipv4.vs.expire_nodest_conn=2"); err == nil {
		t.Errorf("a value out of range was taken: %s", out)
	}
}

func TestATraceShowsAConnectionsWay(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	done := make(chan string)
	go func() {
		out, err := l.Exec("director", "timeout", "10", "uvs", "trace", "40")
		if err != nil && out == "" {
			out = err.Error()
		}
		done <- out
	}()
	var text string
	for deadline := time.After(20 * time.Second); text == ""; {
		if _, err := l.Get("client", url(l, "/")); err != nil {
			t.Fatal(err)
		}
		select {
		case text = <-done:
		case <-deadline:
			t.Fatal("no trace")
		default:
		}
	}
	for _, want := range []string{"rr: ", "chosen", "ip.dst     172.16.253.63            → 192.168.166.", "reply of the server", "   forward   "} {
		if !strings.Contains(text, want) {
			t.Errorf("the trace lacks %q", want)
		}
	}
	if out := labtest.Exec(t, l, "director", "uvs", "explain", "last"); !strings.HasPrefix(out, "#") {
		t.Errorf("explain last printed %q", out)
	}
}
