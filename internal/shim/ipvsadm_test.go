package shim

import (
	"bufio"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control"
	"uvs/internal/control/controltest"
	"uvs/internal/ipvsadm"
)

// recording is one call of ipvsadm 1.31 on Linux 6.1 and the state it left; see
// internal/ipvsadm.
type recording struct {
	Name    string
	Setup   [][]string
	Argv    []string
	Stdin   *string
	RC      int
	Stdout  string
	Stderr  string
	Save    string
	List    *string // not of all
	Timeout string
	Daemon  string
}

// differ names the recordings that come out otherwise through the shim, with the reason.
var differ = map[string]string{
	"A-sched-twos-absent": "the recorded kernel was built without twos",
	"b:,":                 "ipvsadm crashes before it asks anybody",
}

const hosts = `127.0.0.1 localhost
10.0.0.1 vip.example.test vip
10.1.0.1 rs-one.example.test
10.1.0.2 a-very-long-real-server-host-name.sub.domain.example.test
fd00::1 vip6.example.test
`

// TestTheRealIpvsadm runs Debian's ipvsadm through the shim, with everything that was
// recorded of it on the real kernel.
func TestTheRealIpvsadm(t *testing.T) {
	need(t, "ipvsadm", "unshare")
	d := startDirector(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hosts"), hosts)
	write(t, filepath.Join(dir, "resolv.conf"), "")
	services, err := filepath.Abs("../ipvsadm/testdata/services")
	if err != nil {
		t.Fatal(err)
	}
	r := startRunner(t, map[string]string{
		"/etc/hosts": filepath.Join(dir, "hosts"), "/etc/resolv.conf": filepath.Join(dir, "resolv.conf"), "/etc/services": services,
	})
	for _, rec := range recordings(t) {
		t.Run(rec.Name, func(t *testing.T) {
			if reason, ok := differ[rec.Name]; ok {
				t.Skip(reason)
			}
			reset(t, d)
			r.tb = t
			rec.replay(t, r)
		})
	}
}

func (rec *recording) replay(t *testing.T, r *runner) {
	for _, words := range rec.Setup {
		if got := r.run("", append([]string{"ipvsadm"}, words...)...); got.Status != 0 {
			t.Fatalf("setup %q: status %d, %s", words, got.Status, got.Stderr)
		}
	}
	stdin := ""
	if rec.Stdin != nil {
		stdin = *rec.Stdin
	}
	got := r.run(stdin, append([]string{"ipvsadm"}, rec.Argv...)...)
	wantOut := rec.Stdout
	if wantOut == "HELP" {
		wantOut = got.Stdout
	}
	if slices.Contains(rec.Argv, "--nosort") {
		got.Stdout, wantOut = sorted(got.Stdout), sorted(wantOut) // the kernel's order is that of a hash table
	}
	check(t, "standard output", wantOut, got.Stdout)
	check(t, "standard error", rec.Stderr, got.Stderr)
	if got.Status != rec.RC {
		t.Errorf("status %d, want %d", got.Status, rec.RC)
	}
	check(t, "-Sn afterwards", rec.Save, ours(t, "-Sn"))
	if rec.List != nil {
		check(t, "-Ln afterwards", *rec.List, ours(t, "-Ln"))
	}
	check(t, "timeouts afterwards", rec.Timeout, strings.TrimSpace(ours(t, "-L", "--timeout")))
	check(t, "daemons afterwards", rec.Daemon, strings.TrimSpace(ours(t, "-L", "--daemon")))
}

var (
	systemNames = sync.OnceValue(ipvsadm.NewSystemNames)
	// director is one client for all: each keeps a connection for a minute.
	director = sync.OnceValue(func() *client.Client { return client.New("") })
)

// ours returns what uvs ipvsadm says, which takes less time than the real one.
func ours(t *testing.T, words ...string) string {
	t.Helper()
	var stdout strings.Builder
	tool := ipvsadm.Tool{
		Program: "ipvsadm", Director: director(), Names: systemNames(),
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: os.Stderr,
	}
	if status := tool.Run(t.Context(), words); status != 0 {
		t.Errorf("%q: status %d", words, status)
	}
	return stdout.String()
}

func recordings(t *testing.T) (all []recording) {
	t.Helper()
	for _, name := range []string{"cli.jsonl", "more.jsonl"} {
		f, err := os.Open(filepath.Join("../ipvsadm/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var rec recording
			if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
				t.Fatal(err)
			}
			all = append(all, rec)
		}
	}
	return all
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func check(t *testing.T, what, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

// startDirector serves an empty table on a control socket that programs of this
// test find.
func startDirector(t *testing.T) *controltest.Director {
	t.Helper()
	d := controltest.New()
	d.Unicast = func(a netip.Addr) bool {
		return a != netip.MustParseAddr("10.255.255.255") && a != netip.MustParseAddr("127.255.255.255")
	}
	d.MTU = func(name string) (int, error) {
		mtu, ok := map[string]int{"eth0": 1500, "lo": 65536}[name]
		if !ok {
			return 0, errors.New("no such interface")
		}
		return mtu, nil
	}
	t.Setenv("UVS_SOCKET", "@uvs-of-a-test")
	serve(t, d, "@uvs-of-a-test")
	return d
}

// serve serves a director until the test or what it returns ends.
func serve(t *testing.T, d *controltest.Director, socket string) (stop func()) {
	t.Helper()
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(d, config.About{Program: "uvs"}, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// reset makes a director as it was at first.
func reset(t *testing.T, d *controltest.Director) {
	t.Helper()
	err := errors.Join(d.Flush(), d.SetTimeouts(config.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}))
	for _, daemon := range d.Daemons() {
		err = errors.Join(err, d.StopDaemon(daemon.State))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// need skips the test if the machine lacks a program.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("UVS_REQUIRE_NETNS") == "1" {
			t.Fatalf("needs %s", p)
		}
		t.Skipf("needs %s", p)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
