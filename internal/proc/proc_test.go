package proc

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/procfs"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/internal/ipvsadm"
	"uvs/internal/rules"
	"uvs/sched"
)

// recorded returns the nth recorded output of a file of Linux 6.1, and the ipvsadm commands
// before it since the last -C.
func recorded(t *testing.T, file string, number int) (commands, output string) {
	t.Helper()
	text, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		command, isCommand := strings.CutPrefix(line, "# ipvsadm ")
		switch {
		case strings.HasPrefix(line, "# "):
			if inside {
				return commands, output
			}
			if line == "# cat /proc/net/"+file+"\n" {
				number--
				inside = number < 0
			}
			if command == "-C\n" {
				commands = ""
			} else if isCommand {
				commands += command
			}
		case inside:
			output += line
		}
	}
	return commands, output
}

func states(t *testing.T, commands string) []config.ServiceState {
	t.Helper()
	r, err := rules.Parse(strings.NewReader(commands), ipvsadm.NewSystemNames(), controltest.New())
	if err != nil {
		t.Fatal(err)
	}
	all := make([]config.ServiceState, len(r.Services))
	for i, v := range r.Services {
		all[i].Service = v.Service
		for _, s := range v.Servers {
			all[i].Servers = append(all[i].Servers, config.ServerState{Server: s})
		}
	}
	return all
}

// The kernel's order depends on memory addresses: services are compared as a set, each with its
// servers.
func TestServicesAsRecorded(t *testing.T) {
	for number := range 2 {
		commands, want := recorded(t, "ip_vs", number)
		services := states(t, commands)
		if number == 0 {
			count(services)
		}
		var got bytes.Buffer
		if err := Services(&got, services); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(blocks(want), blocks(got.String())); diff != "" {
			t.Errorf("recording %d:\n%s", number, diff)
		}
	}
}

// count gives the servers the connections they had in the recording.
func count(services []config.ServiceState) {
	for i := range services {
		for j := range services[i].Servers {
			if services[i].Proto == config.UDP {
				services[i].Servers[j].Inactive = 1
			} else {
				services[i].Servers[j].Active = 1
			}
		}
	}
}

func blocks(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  -> ") && len(all) > 0 {
			all[len(all)-1] += line
		} else {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

func TestConnectionsAsRecorded(t *testing.T) {
	conn := func(p config.Proto, client, virtual, server, state string, seconds uint32) config.Connection {
		return config.Connection{
			Proto: p, Client: netip.MustParseAddrPort(client), Virtual: netip.MustParseAddrPort(virtual),
			Server: netip.MustParseAddrPort(server), State: state, Expires: seconds*1000 + 500,
		}
	}
	sip := conn(config.UDP, "172.16.5.1:0", "10.2.1.1:5060", "10.1.0.2:5060", "NONE", 58)
	sip.PEName, sip.PEData = "sip", "abcdef@host.example"
	all := []config.Connection{
		conn(config.TCP, "172.16.5.1:1025", "10.2.1.1:80", "10.1.0.1:8080", "SYN_RECV", 58), sip,
		conn(0, "172.16.5.1:0", "0.0.0.77:0", "10.1.0.2:0", "NONE", 8),
		conn(config.UDP, "172.16.5.1:5060", "10.2.1.1:5060", "10.1.0.2:5060", "UDP", 298),
		conn(config.TCP, "[fd00:c::5]:1025", "[fd00:2::1]:443", "[fd00:1::1]:443", "SYN_RECV", 58),
	}
	var got, sync bytes.Buffer
	if err := Connections(&got, &sync, sequence(all)); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]*bytes.Buffer{"ip_vs_conn": &got, "ip_vs_conn_sync": &sync} {
		_, want := recorded(t, name, 0)
		for line := range strings.Lines(out.String()) {
			if !strings.Contains(want, line) {
				t.Errorf("%s: line %q is not in the recording", name, line)
			}
		}
	}
}

func sequence(all []config.Connection) iter.Seq2[config.Connection, error] {
	return func(yield func(config.Connection, error) bool) {
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestStatsAsRecorded(t *testing.T) {
	var got, cpu, app bytes.Buffer
	totals := config.Stats{Conns: 5, InPkts: 5, InBytes: 0x1a4, CPS: 1, InPPS: 1, InBPS: 0x34}
	if err := errors.Join(Stats(&got, totals), PerCPU(&cpu, totals), Apps(&app)); err != nil {
		t.Fatal(err)
	}
	_, want := recorded(t, "ip_vs_stats", 0)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	_, want = recorded(t, "ip_vs_app", 0)
	if diff := cmp.Diff(want, app.String()); diff != "" {
		t.Error(diff)
	}
	// The recording has two CPUs; the first of ours has what they have together.
	_, want = recorded(t, "ip_vs_stats_percpu", 0)
	lines := strings.SplitAfter(want, "\n")
	lines[2] = strings.Replace(lines[4], "  ~", "  0", 1)
	if diff := cmp.Diff(strings.Join(slices.Delete(lines, 3, 4), ""), cpu.String()); diff != "" {
		t.Error(diff)
	}
}

// fixed is a director with the given state.
type fixed struct {
	services []config.ServiceState
	totals   config.Stats
}

func (f *fixed) Services(context.Context) ([]config.ServiceState, error) {
	return slices.Clone(f.services), nil
}
func (f *fixed) Totals(context.Context) (config.Stats, error) { return f.totals, nil }
func (f *fixed) Connections(context.Context) iter.Seq2[config.Connection, error] {
	return sequence(nil)
}

func TestPrometheusReadsUs(t *testing.T) {
	dir := t.TempDir()
	d := &fixed{totals: config.Stats{Conns: 1 << 40, InPkts: 2, OutPkts: 3, InBytes: 4, OutBytes: 5}}
	for i := range 3 {
		v := config.ServiceState{Service: config.Service{
			Key:       config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.0.0." + strconv.Itoa(i)), Port: 80}.Normal(),
			Scheduler: "wlc", Persistent: uint32(i),
		}}
		v.Servers = []config.ServerState{{Server: config.Server{Addr: netip.MustParseAddr("10.1.0.1"), Port: 8080, Method: sched.Masq, Weight: 7}, Active: 8, Inactive: 9}}
		d.services = append(d.services, v)
	}
	if err := Write(t.Context(), dir, d); err != nil {
		t.Fatal(err)
	}
	fs, err := procfs.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := fs.IPVSStats()
	if err != nil {
		t.Fatal(err)
	}
	if want := (procfs.IPVSStats{Connections: 1 << 40, IncomingPackets: 2, OutgoingPackets: 3, IncomingBytes: 4, OutgoingBytes: 5}); stats != want {
		t.Errorf("stats %+v, want %+v", stats, want)
	}
	backends, err := fs.IPVSBackendStatus()
	if err != nil {
		t.Fatal(err)
	}
	if len(backends) != 3 {
		t.Fatalf("%d backends, want 3", len(backends))
	}
	b := backends[0]
	if b.Proto != "TCP" || b.LocalPort != 80 || b.RemotePort != 8080 || b.RemoteAddress.String() != "10.1.0.1" ||
		b.Weight != 7 || b.ActiveConn != 8 || b.InactConn != 9 {
		t.Errorf("backend %+v", b)
	}
}
