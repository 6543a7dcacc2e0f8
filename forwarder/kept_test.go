package forwarder

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/state"
)

// heirs are directors that are killed one after the other, each the heir of the last.
type heirs struct {
	*testbed
	dir   string
	began time.Time
	state *state.State
}

// newHeirs returns the first, with some commands of apply.
func newHeirs(t testing.TB, commands string) *heirs {
	t.Helper()
	h := &heirs{dir: t.TempDir(), began: time.Now()}
	h.begin(t)
	h.apply(commands)
	return h
}

func (h *heirs) begin(t testing.TB) {
	t.Helper()
	var err error
	h.state, err = state.Open(state.Options{Dir: h.dir, Clock: func() time.Duration { return time.Since(h.began) }})
	mustDo(t, err)
	t.Cleanup(func() { _ = h.state.Close() })
	h.testbed = newTestbedWith(t, "", Config{MaxConns: 1 << 12, State: h.state})
}

// kill ends a director without a word to it, and begins the next.
func (h *heirs) kill() {
	h.t.Helper()
	mustDo(h.t, h.state.Release())
	h.begin(h.t)
}

// shown is what the director shows by all commands.
func (h *heirs) shown() string {
	h.t.Helper()
	var b strings.Builder
	for _, command := range []string{"-Ln", "-Ln --stats", "-Ln --rate", "-Ln --thresholds", "-Ln --persistent-conn", "--get-laddr -n", "-L --timeout", "-L --daemon", "-Sn"} {
		fmt.Fprintf(&b, "# %s\n%s", command, h.ipvsadm(command))
	}
	connections := strings.Split(h.ipvsadm("-Lcn --persistent-conn"), "\n")
	slices.Sort(connections)
	fmt.Fprintln(&b, strings.Join(connections, "\n"))
	for _, s := range h.fw.Sysctls() {
		fmt.Fprintln(&b, s.Name, s.Value)
	}
	fmt.Fprintln(&b, h.fw.Marks(), h.fw.Totals())
	return b.String()
}

const keptRules = `--set 901 121 301
-A -t 10.2.0.1:80 -s wlc -p 300
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m -w 3 -x 100 -y 50
-a -t 10.2.0.1:80 -r 10.1.0.2:80 -g -w 1
-A -t 10.2.0.1:81 -s rr
-a -t 10.2.0.1:81 -r 10.1.0.1:81 --fullnat
-A -t 10.2.0.1:82 -s rr
-a -t 10.2.0.1:82 -r 10.1.0.1:82 -i --tun-type gue --tun-port 6000
-a -t 10.2.0.1:82 -r 10.1.0.2:82 -i -w 0
-A -u 10.2.0.1:5060 -s rr -p 60 --pe sip
-a -u 10.2.0.1:5060 -r 10.1.0.1:5060 -m
policy -t 10.2.0.1:82 --gone reset --drain 30s
`

func TestTheNextDirectorShowsWhatTheKilledOneDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeirs(t, keptRules)
		h.mark(config.MarkRule{Proto: config.TCP, DstPorts: config.PortRange{First: 443, Last: 443}, Mark: 7})
		h.sysctl("expire_quiescent_template", 1)
		h.sysctl("secure_tcp", 3)
		for i := range 20 {
			h.open(fmt.Sprintf("172.16.0.%d:3000", i+1), fmt.Sprintf("10.2.0.1:%d", 80+i%3))
		}
		h.deliver(1, h.udp(1, "172.16.0.9:5060", "10.2.0.1:5060", "OPTIONS sip:a SIP/2.0\r\nCall-ID: one@home\r\n\r\n"))
		h.apply("-d -t 10.2.0.1:82 -r 10.1.0.1:82\n-e -t 10.2.0.1:80 -r 10.1.0.2:80 -g -w 0\n")
		h.fw.Tick(time.Now())
		h.pass(5 * time.Second)
		h.fw.Tick(time.Now())
		h.apply("-Z -t 10.2.0.1:81")
		want := h.shown()
		if !strings.Contains(want, "ESTABLISHED") && !strings.Contains(want, "SYN_RECV") || !strings.Contains(want, "10.1.0.1:5060") {
			t.Fatal(want)
		}
		for range 3 {
			h.kill()
			if diff := cmp.Diff(want, h.shown()); diff != "" {
				t.Fatal(diff)
			}
		}
		h.pass(time.Second)
		h.deliver(1, h.udp(1, "172.16.0.9:5060", "10.2.0.1:5060", "OPTIONS sip:a SIP/2.0\r\nCall-ID: one@home\r\n\r\n"))
		if n := strings.Count(h.ipvsadm("-Lcn"), ":5060"); n != 2*2+1 && n == 0 {
			t.Error(h.ipvsadm("-Lcn"))
		}
	})
}
