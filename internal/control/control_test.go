package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/internal/peer"
	"uvs/sched"
)

var someConnections = []config.Connection{{
	Proto:   config.TCP,
	Client:  netip.MustParseAddrPort("172.16.0.1:1025"),
	Virtual: netip.MustParseAddrPort("10.0.0.1:80"),
	Server:  netip.MustParseAddrPort("10.1.0.1:80"),
	Method:  sched.Masq, State: "ESTABLISHED", Expires: 899123, InPkts: 3, ServerNow: 1,
}, {
	Client: netip.MustParseAddrPort("172.16.0.0:0"), Virtual: netip.MustParseAddrPort("0.0.0.77:0"),
	Server: netip.MustParseAddrPort("10.1.0.1:0"), State: "NONE", Template: true, Mark: 77,
}}

// start serves a director on a socket and returns the address.
func start(t *testing.T) (socket string, d *controltest.Director) {
	t.Helper()
	d = controltest.New()
	d.Conns, d.Counted = someConnections, map[string]uint64{"send": 7}
	d.Audited = []config.Account{{Port: "all/0", Received: 7, Outcomes: map[string]uint64{"forward": 7}}}
	socket = filepath.Join(t.TempDir(), "uvs")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(d, config.About{Program: "uvs", Version: "test", PID: 1}, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket, d
}

// ask sends a request and returns the status and the body.
func ask(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return peer.Dial(ctx, socket) },
	}}
	defer c.CloseIdleConnections()
	r, err := http.NewRequest(method, "http://uvs"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

const aService = `{"protocol":"tcp","address":"10.0.0.1","port":80,"scheduler":"rr"}`

func TestWrongRequestsAreRefusedByFieldName(t *testing.T) {
	socket, d := start(t)
	if status, text := ask(t, socket, "POST", "/v1/services", aService); status != 204 {
		t.Fatal(status, text)
	}
	service := "/v1/services/tcp:10.0.0.1:80"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		code, field              string
	}{
		{"an unknown field", "POST", "/v1/services", `{"protocol":"udp","address":"10.0.0.1","port":80,"colour":1}`, 400, "invalid", "colour"},
		{"a text for a number", "POST", "/v1/services", `{"protocol":"udp","address":"10.0.0.1","port":"80"}`, 400, "invalid", "port"},
		{"a number that does not fit", "POST", "/v1/services", `{"protocol":"udp","address":"10.0.0.1","port":65536}`, 400, "invalid", "port"},
		{"no protocol there is", "POST", "/v1/services", `{"protocol":"icmp","address":"10.0.0.1","port":80}`, 400, "invalid", "protocol"},
		{"no address", "POST", "/v1/services", `{"protocol":"udp","address":"10.0.0.256","port":80}`, 400, "invalid", "address"},
		{"a list for an object", "POST", "/v1/services", `[]`, 400, "invalid", "body"},
		{"no JSON", "POST", "/v1/services", `{"protocol":`, 400, "invalid", "body"},
		{"nothing", "POST", "/v1/services", ``, 400, "invalid", "body"},
		{"two values", "POST", "/v1/services", `{"mark":1} {"mark":2}`, 400, "invalid", "body"},
		{"a mask that is none", "POST", "/v1/services", `{"mark":1,"netmask":"24"}`, 400, "invalid", "netmask"},
		{"a mark with a port", "POST", "/v1/services", `{"mark":1,"port":2}`, 400, "invalid", "mark"},
		{"a scheduler flag there is not", "POST", "/v1/services", `{"mark":1,"scheduler_flags":"flag-4"}`, 400, "invalid", "scheduler_flags"},
		{"a scheduler there is not", "POST", "/v1/services", `{"mark":1,"scheduler":"x"}`, 400, "no_such_scheduler", ""},
		{"a service that exists", "POST", "/v1/services", aService, 409, "service_exists", ""},
		{"a service that does not", "GET", "/v1/services/udp:10.0.0.1:80", ``, 404, "no_such_service", ""},
		{"no name of a service", "GET", "/v1/services/tcp", ``, 400, "invalid", "service"},
		{"another service in the body", "PUT", service, `{"protocol":"udp","address":"10.0.0.1","port":80}`, 400, "invalid", "service"},
		{"a method there is not", "POST", service + "/servers", `{"address":"10.1.0.1","port":80,"method":"nat"}`, 400, "invalid", "method"},
		{"a method nobody can ask for", "POST", service + "/servers", `{"address":"10.1.0.1","port":80,"method":"local"}`, 400, "invalid", "method"},
		{"a negative weight", "POST", service + "/servers", `{"address":"10.1.0.1","port":80,"weight":-1}`, 400, "out_of_range", ""},
		{"a server that is not there", "DELETE", service + "/servers/10.1.0.1:80", ``, 404, "no_such_server", ""},
		{"no name of a server", "DELETE", service + "/servers/x", ``, 400, "invalid", "server"},
		{"another server in the body", "PUT", service + "/servers/10.1.0.1:80", `{"address":"10.1.0.2","port":80}`, 400, "invalid", "server"},
		{"no local address", "PUT", service + "/local-addresses/224.0.0.1", ``, 400, "invalid", "local_address"},
		{"a timeout too long", "PUT", "/v1/timeouts", `{"tcp":2678401,"tcp_fin":0,"udp":0}`, 400, "invalid", "tcp"},
		{"a daemon of no kind", "POST", "/v1/daemons", `{"state":"slave","interface":"eth0"}`, 400, "invalid", "state"},
		{"a daemon that does not run", "DELETE", "/v1/daemons/master", ``, 404, "no_such_daemon", ""},
		{"a path there is not", "GET", "/v2/services", ``, 404, "no_such_path", ""},
		{"a method of HTTP there is not", "PATCH", "/v1/services", ``, 404, "no_such_path", ""},
		{"a command with an unknown field", "POST", "/v1/batch", `{"commands":[{"op":"clear"},{"op":"clear","now":true}]}`, 400, "invalid", "commands[1].now"},
		{"a wrong value deep inside", "POST", "/v1/batch", `{"commands":[{"op":"add-server","service":{"mark":1},"server":{"address":"x"}}]}`, 400, "invalid", "commands[0].server.address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(d.Services())
			status, text := ask(t, socket, c.method, c.path, c.body)
			var f failure
			if err := json.Unmarshal([]byte(text), &f); err != nil || f.Error == nil {
				t.Fatalf("status %d, body %q: %v", status, text, err)
			}
			if status != c.status || f.Error.Code != c.code || f.Error.Field != c.field || f.Error.Message == "" {
				t.Errorf("status %d, problem %+v, want %d, %s, %s", status, *f.Error, c.status, c.code, c.field)
			}
			if after := len(d.Services()); after != before {
				t.Errorf("%d services before, %d after", before, after)
			}
		})
	}
}

func TestServerHasTheDefaultsOfIpvsadm(t *testing.T) {
	socket, d := start(t)
	ask(t, socket, "POST", "/v1/services", `{"mark":1}`)
	ask(t, socket, "POST", "/v1/services/mark:1/servers", `{"address":"10.1.0.1"}`)
	ask(t, socket, "POST", "/v1/batch", `{"commands":[{"op":"add-server","service":{"mark":1},"server":{"address":"10.1.0.2"}}]}`)
	servers := d.Services()[0].Servers
	if len(servers) != 2 {
		t.Fatalf("%d servers, want 2", len(servers))
	}
	for _, s := range servers {
		if s.Method != sched.Route || s.Weight != 1 {
			t.Errorf("%s: method %s and weight %d, want Route and 1", s.Addr, s.Method, s.Weight)
		}
	}
}

func TestBatchTellsHowEachCommandEnded(t *testing.T) {
	socket, d := start(t)
	commands := `{"op":"add-service","service":` + aService + `},{"op":"delete-service","service":{"mark":9}},{"op":"add-service","service":{"mark":5}}`
	_, text := ask(t, socket, "POST", "/v1/batch", `{"atomic":true,"commands":[`+commands+`]}`)
	if got := problems(t, text); got != "-,no_such_service" || len(d.Services()) != 0 {
		t.Errorf("atomic: %s and %d services, want -,no_such_service and none", got, len(d.Services()))
	}
	_, text = ask(t, socket, "POST", "/v1/batch", `{"commands":[`+commands+`]}`)
	if got := problems(t, text); got != "-,no_such_service,-" || len(d.Services()) != 2 {
		t.Errorf("one by one: %s and %d services, want -,no_such_service,- and 2", got, len(d.Services()))
	}
}

func problems(t *testing.T, text string) string {
	t.Helper()
	var result config.BatchResult
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	codes := make([]string, len(result.Problems))
	for i, p := range result.Problems {
		if codes[i] = "-"; p != nil {
			codes[i] = p.Code
		}
	}
	return strings.Join(codes, ",")
}

func TestReadersNeedNoTrustButWritersDo(t *testing.T) {
	s := NewServer(controltest.New(), config.About{}, slog.New(slog.DiscardHandler))
	for _, r := range s.routes() {
		method, path, _ := strings.Cut(r.pattern, " ")
		w := &recorder{header: http.Header{}}
		request, err := http.NewRequest(method, strings.NewReplacer("{service}", "mark:1", "{server}", "10.1.0.1:80", "{address}", "10.0.0.7", "{state}", "master").Replace(path), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if method == "GET" {
			continue
		}
		s.handler().ServeHTTP(w, request)
		if w.status != http.StatusForbidden || !strings.Contains(w.body.String(), `"refused"`) {
			t.Errorf("%s without trust: status %d, %s", r.pattern, w.status, &w.body)
		}
	}
}

// recorder is a minimal ResponseWriter.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }

func TestClientSeesWhatTheDirectorHas(t *testing.T) {
	socket, d := start(t)
	c, ctx := client.New(socket), context.Background()
	key := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("fd00::1"), Port: 80}.Normal()
	mark := config.Key{Mark: 7, Family: config.IPv6}
	server := config.Server{Addr: netip.MustParseAddr("fd00::2"), Port: 8080, Method: sched.Masq, Weight: 3, Upper: 9, Lower: 5}
	for name, err := range map[string]error{
		"add":        c.AddService(ctx, config.Service{Key: key, Scheduler: "sh", Flags: sched.Port, Persistent: 60, Netmask: "64"}),
		"add mark":   c.AddService(ctx, config.Service{Key: mark}),
		"edit":       c.EditService(ctx, config.Service{Key: mark, Scheduler: "lc"}),
		"server":     c.AddServer(ctx, key, server),
		"other":      c.AddServer(ctx, mark, server),
		"no other":   c.DeleteServer(ctx, mark, server.AddrPort()),
		"local":      c.AddLocal(ctx, key, netip.MustParseAddr("fd00::3")),
		"locals":     c.AddLocal(ctx, key, netip.MustParseAddr("fd00::4")),
		"no local":   c.DeleteLocal(ctx, key, netip.MustParseAddr("fd00::4")),
		"zero":       c.Zero(ctx, &key),
		"zero all":   c.Zero(ctx, nil),
		"timeouts":   c.SetTimeouts(ctx, config.Timeouts{TCP: 1, TCPFin: 2, UDP: 3}),
		"daemon":     c.StartDaemon(ctx, config.Daemon{State: config.Master, Interface: "eth0"}),
		"daemons":    c.StartDaemon(ctx, config.Daemon{State: config.Backup, Interface: "eth0"}),
		"no daemons": c.StopDaemon(ctx, config.Backup),
	} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	services, err := c.Services(ctx)
	same(t, "services", d.Services(), services, err)
	one, err := c.Service(ctx, key)
	same(t, "service", d.Services()[0], one, err)
	timeouts, err := c.Timeouts(ctx)
	same(t, "timeouts", d.Timeouts(), timeouts, err)
	daemons, err := c.Daemons(ctx)
	same(t, "daemons", d.Daemons(), daemons, err)
	counters, err := c.Counters(ctx)
	same(t, "counters", d.Counters(), counters, err)
	accounts, err := c.Accounts(ctx)
	same(t, "accounts", d.Accounts(), accounts, err)
	totals, err := c.Totals(ctx)
	same(t, "totals", d.Totals(), totals, err)
	var all []config.Connection
	for conn, err := range c.Connections(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	same(t, "connections", someConnections, all, nil)
	if err := errors.Join(c.DeleteService(ctx, key), c.Flush(ctx)); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteService(ctx, key); !errors.Is(err, config.ErrNoSuchService) {
		t.Errorf("error %v, want one that is %v", err, config.ErrNoSuchService)
	}
}

func same(t *testing.T, what string, want, got any, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	opt := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	ports := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, got, opt, ports); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

func TestSocketOfADeadDirectorIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uvs")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("while it lives: %v, want %v", err, ErrInUse)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("after it died: %v", err)
	}
	l.Close()
}

// problemOf returns the problem in the body of a failed answer.
func problemOf(t *testing.T, text string) error {
	t.Helper()
	var f failure
	if err := json.Unmarshal([]byte(text), &f); err != nil || f.Error == nil {
		return nil
	}
	return f.Error
}
