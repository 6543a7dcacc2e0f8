package forwarder

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/sched"
)

// events returns the names of the events that a log tells, and empties it.
func events(log *bytes.Buffer) (names []string) {
	for _, line := range said(log) {
		_, rest, _ := strings.Cut(line, "event=")
		name, _, _ := strings.Cut(rest, " ")
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

func TestANearlyFullTableIsToldOnceUntilItHasRoomAgain(t *testing.T) {
	var log bytes.Buffer
	l := newLevels(slog.New(slog.NewTextHandler(&log, nil)))
	for _, c := range []struct {
		used int
		want string
	}{
		{0, "[]"}, {89, "[]"}, {90, "[conn-table-nearly-full]"}, {100, "[]"}, {85, "[]"}, {91, "[]"}, {80, "[]"},
		{79, "[conn-table-relieved]"}, {89, "[]"}, {95, "[conn-table-nearly-full]"},
	} {
		l.lookTable(c.used, 100)
		if got := fmt.Sprint(events(&log)); got != c.want {
			t.Errorf("at %d of 100: %s, want %s", c.used, got, c.want)
		}
	}
}

func TestNearlyTakenLocalPortsAreToldOnceUntilSomeAreFree(t *testing.T) {
	b := newTestbedWith(t, "", Config{MaxConns: 1 << 10, LocalPorts: [2]uint16{5000, 5009}})
	var log bytes.Buffer
	l := newLevels(slog.New(slog.NewTextHandler(&log, nil)))
	var taken []*conntrack.Conn
	use := func(n int) {
		for len(taken) < n {
			c := &conntrack.Conn{Local: [16]byte{10: 255, 11: 255, 12: 10, 13: 1, 15: 9}, Real: [16]byte{10: 255, 11: 255, 12: 10, 13: 1, 15: 1}, RealPort: 80}
			c.LocalPort, _, _ = b.fw.locals.Allocate(conntrack.PortKeyOf(c))
			taken = append(taken, c)
		}
		for len(taken) > n {
			b.fw.locals.Release(taken[len(taken)-1])
			taken = taken[:len(taken)-1]
		}
	}
	for _, c := range []struct {
		used int
		want string
	}{
		{8, "[]"}, {9, "[local-ports-nearly-full]"}, {10, "[]"}, {8, "[]"}, {7, "[local-ports-relieved]"},
		{9, "[local-ports-nearly-full]"}, {0, "[local-ports-relieved]"},
	} {
		use(c.used)
		l.look(b.fw)
		text := log.String()
		if got := fmt.Sprint(events(&log)); got != c.want {
			t.Errorf("at %d of 10 ports: %s, want %s", c.used, got, c.want)
		}
		if c.want != "[]" && !strings.Contains(text, "local=10.1.0.9 server=10.1.0.1:80") {
			t.Errorf("at %d it says %q", c.used, text)
		}
	}
}

func TestWhatIsDoneWithServersIsToldButNotThousandsOfThem(t *testing.T) {
	var log bytes.Buffer
	b := newTestbedWith(t, "", Config{MaxConns: 1 << 10, Log: slog.New(slog.NewTextHandler(&log, nil))})
	b.apply("-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m")
	if got := events(&log); len(got) > 0 {
		t.Errorf("before it works, the director tells %q", got)
	}
	close(b.fw.ready)
	for _, c := range []struct{ command, want string }{
		{"-a -t 10.0.0.1:80 -r 10.1.0.2:80 -m", "[server-added]"},
		{"-e -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 5", "[]"},
		{"-e -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 0", "[server-quiesced]"},
		{"-e -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 0", "[]"},
		{"-e -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 3", "[server-resumed]"},
		{"-d -t 10.0.0.1:80 -r 10.1.0.2:80", "[server-gone]"},
		{"-D -t 10.0.0.1:80", "[server-gone]"},
		{"-C", "[]"},
	} {
		b.apply(c.command)
		if got := fmt.Sprint(events(&log)); got != c.want {
			t.Errorf("after %s: %s, want %s", c.command, got, c.want)
		}
	}
	b.fw.serverLog.rest(b.fw.log)
	if got := events(&log); len(got) > 0 {
		t.Errorf("then %q", got)
	}
	svc := config.Service{Key: config.Key{Mark: 7, Family: config.IPv4}, Scheduler: "rr"}
	commands := []config.Command{{Op: config.OpAddService, Service: &svc}}
	for i := range 1000 {
		server := config.NewServer()
		server.Addr, server.Method = netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(1 + i%250)}), sched.Masq
		commands = append(commands, config.Command{Op: config.OpAddServer, Service: &svc, Server: &server})
	}
	b.fw.Apply(commands, true)
	b.fw.Flush()
	b.fw.serverLog.rest(b.fw.log)
	lines := said(&log)
	last := lines[len(lines)-1]
	if len(lines) != serverLines+1 || !strings.Contains(last, "event=servers-changed added=984 gone=1000 quiesced=0 resumed=0") {
		t.Errorf("%d lines, the last one %q", len(lines), last)
	}
}
