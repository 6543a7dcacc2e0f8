package ipvsadm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control"
	"uvs/internal/control/controltest"
)

// recording is one call of the real ipvsadm 1.31 on Linux 6.1 and the state
// it left.
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

// differ names the recordings from which this tool differs, with the reason; see
// docs/differences.md.
var differ = map[string]string{
	"A-sched-twos-absent": "the recorded kernel was built without twos",
	"b:,":                 "the real ipvsadm crashes",
}

func TestRecorded(t *testing.T) {
	for _, file := range []string{"testdata/cli.jsonl", "testdata/more.jsonl"} {
		for _, rec := range recordings(t, file) {
			t.Run(rec.Name, func(t *testing.T) {
				if reason, ok := differ[rec.Name]; ok {
					t.Skip(reason)
				}
				rec.replay(t)
			})
		}
	}
}

func recordings(t testing.TB, file string) (all []recording) {
	t.Helper()
	f, err := os.Open(file)
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
	return all
}

func (rec *recording) replay(t *testing.T) {
	d := startDirector(t)
	for _, words := range rec.Setup {
		if got := d.run(words, ""); got.status != 0 {
			t.Fatalf("setup %q: status %d, %s", words, got.status, got.stderr)
		}
	}
	stdin := ""
	if rec.Stdin != nil {
		stdin = *rec.Stdin
	}
	got := d.run(rec.Argv, stdin)
	wantOut := rec.Stdout
	if wantOut == "HELP" || wantOut == upstreamHelp {
		wantOut = upstreamHelp + ownHelp
	}
	if slices.Contains(rec.Argv, "--nosort") {
		got.stdout, wantOut = sorted(got.stdout), sorted(wantOut) // the kernel's order is that of a hash table
	}
	check(t, "standard output", wantOut, got.stdout)
	check(t, "standard error", rec.Stderr, got.stderr)
	if got.status != rec.RC {
		t.Errorf("status %d, want %d", got.status, rec.RC)
	}
	check(t, "-Sn afterwards", rec.Save, d.run([]string{"-Sn"}, "").stdout)
	if rec.List != nil {
		check(t, "-Ln afterwards", *rec.List, d.run([]string{"-Ln"}, "").stdout)
	}
	check(t, "timeouts afterwards", rec.Timeout, strings.TrimSpace(d.run([]string{"-L", "--timeout"}, "").stdout))
	check(t, "daemons afterwards", rec.Daemon, strings.TrimSpace(d.run([]string{"-L", "--daemon"}, "").stdout))
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

// director is a table of services behind a real control API.
type director struct {
	client *client.Client
}

// startDirector serves an empty table with the interfaces of the recordings.
func startDirector(t *testing.T) *director {
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
	socket := filepath.Join(t.TempDir(), "uvs")
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(d, config.About{Program: "uvs"}, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &director{client.New(socket)}
}

type outcome struct {
	stdout, stderr string
	status         int
}

func (d *director) run(words []string, stdin string) outcome {
	var stdout, stderr bytes.Buffer
	tool := Tool{
		Program:  "ipvsadm",
		Director: d.client,
		Names:    recordedNames,
		Stdin:    strings.NewReader(stdin),
		Stdout:   &stdout,
		Stderr:   &stderr,
	}
	status := tool.Run(context.Background(), words)
	return outcome{stdout.String(), stderr.String(), status}
}

// fixedNames are the hosts and services of the recordings.
type fixedNames struct {
	hosts map[string]string
	ports *services
}

var recordedNames = fixedNames{
	hosts: map[string]string{
		"localhost": "127.0.0.1", "vip.example.test": "10.0.0.1", "rs-one.example.test": "10.1.0.1",
		"a-very-long-real-server-host-name.sub.domain.example.test": "10.1.0.2",
		"vip6.example.test": "fd00::1",
	},
	ports: readServicesFile("testdata/services"),
}

func readServicesFile(name string) *services {
	text, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return readServices(bytes.NewReader(text))
}

func (n fixedNames) Host(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if name == "vip" {
		name = "vip.example.test"
	}
	a, err := netip.ParseAddr(n.hosts[name])
	return a, err == nil && a.Is4()
}

func (n fixedNames) HostOf(a netip.Addr) (string, bool) {
	for name, addr := range n.hosts {
		if addr == a.String() {
			return name, true
		}
	}
	return "", false
}

func (n fixedNames) Port(name string, p config.Proto) (uint16, bool)   { return n.ports.port(name, p) }
func (n fixedNames) PortOf(port uint16, p config.Proto) (string, bool) { return n.ports.name(port, p) }
