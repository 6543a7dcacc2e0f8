package page

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"uvs/forwarder/client"
)

// fakeDirector answers on the paths of the control API with what a test says, whatever a
// real one would never say.
type fakeDirector struct {
	server *httptest.Server
	mu     sync.Mutex
	paths  map[string]http.HandlerFunc
	api    object // paths in its openapi.json
}

type object = map[string]any

func newFakeDirector(answers object) *fakeDirector {
	d := &fakeDirector{paths: map[string]http.HandlerFunc{}, api: object{}}
	for path, body := range answers {
		d.set(path, body)
		d.api[path] = object{"get": object{}}
	}
	d.set("/v1/openapi.json", object{"paths": d.api})
	return d
}

// lacks makes the director one of a version that has no such path.
func (d *fakeDirector) lacks(path string) { delete(d.api, path) }

func (d *fakeDirector) handle(path string, f http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paths[path] = f
}

func (d *fakeDirector) set(path string, body any) {
	d.handle(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(body) })
}

// client serves the director on a socket of its own.
func (d *fakeDirector) client(t *testing.T) *client.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "uvs")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		f := d.paths[r.URL.Path]
		d.mu.Unlock()
		if f == nil {
			http.NotFound(w, r)
			return
		}
		f(w, r)
	}))
	d.server.Listener.Close()
	d.server.Listener = l
	d.server.Start()
	t.Cleanup(d.server.Close)
	return client.New(socket)
}

func stats(conns, cps, pps int) object {
	return object{"connections": conns, "packets_in": 12 * conns, "packets_out": 11 * conns, "bytes_in": 900 * conns, "bytes_out": 9000 * conns,
		"connections_per_second": cps, "packets_in_per_second": pps, "packets_out_per_second": pps, "bytes_in_per_second": 80 * pps, "bytes_out_per_second": 800 * pps}
}

func server(id int, address string, weight, conns int) object {
	return object{"address": address, "port": 80, "method": "route", "weight": weight, "id": id, "active_connections": conns / 10, "inactive_connections": conns / 2, "persistent_connections": 0, "stats": stats(conns, conns/60, conns/5)}
}

// services are two services; rs1 of the first has got some connections, rs2 twice as many.
func services(n int) []object {
	return []object{
		{"protocol": "tcp", "address": "10.0.0.100", "port": 80, "family": "ipv4", "scheduler": "wrr", "stats": stats(3*n, n/20, n), "servers": []object{server(1, "10.0.0.11", 1, n), server(2, "10.0.0.12", 2, 2*n)}},
		{"protocol": "udp", "address": "fd00::100", "port": 53, "family": "ipv6", "scheduler": "sh", "stats": stats(0, 0, 0), "servers": []object{server(3, "fd00::11", 0, 0)}},
	}
}

func connection(proto, client, server, state string) object {
	return object{"protocol": proto, "client": client, "virtual": "10.0.0.100:80", "server": server, "method": "route", "state": state, "expires_ms": 899_000, "packets_in": 7, "server_id": 1}
}

// A SYN by direct routing, as it came and as it left.
const (
	synIn  = "02000000000202000000000108004500003c1c4640003f06a5f1ac1000090a000064138800500000000100000000a002faf0b8d90000020405b40402080a0000000100000000010303070000000000000000"
	synOut = "0200000000b202000000000208004500003c1c4640003e06a6f1ac1000090a000064138800500000000100000000a002faf0b8d90000020405b40402080a0000000100000000010303070000000000000000"
)

func frame(hexText string) string {
	b := make([]byte, len(hexText)/2)
	for i := range b {
		var v byte
		for _, c := range hexText[2*i : 2*i+2] {
			v = v<<4 | byte(c&15)
			if c > '9' {
				v += 9
			}
		}
		b[i] = v
	}
	return base64.StdEncoding.EncodeToString(b)
}

// packets are a request that opens a connection, its reply past the director's eyes, and one
// that was dropped.
func packets() []object {
	pick := object{"scheduler": "wlc", "rule": "smallest (active·256 + inactive) / weight", "chosen": 2, "candidates": []object{
		{"server": 1, "addr": "10.0.0.11:80", "figure": "(4·256+12)/1 = 1036"}, {"server": 2, "addr": "10.0.0.12:80", "figure": "(5·256+3)/2 = 641.5"}, {"server": 3, "addr": "10.0.0.13:80", "skip": "weight 0"}}}
	return []object{
		{"number": 1, "time": "2026-11-28T07:00:00Z", "interface": "eth0", "length": 74, "packet": "tcp 172.16.0.9:5000 > 10.0.0.100:80 SYN", "verdict": "forward", "took_ns": 3100, "server": "10.0.0.12:80", "side": "request",
			"next": "the server answers the client directly; this director will not see the reply", "frame": frame(synIn), "sent": []object{{"interface": "eth0", "frame": frame(synOut)}},
			"steps": []object{
				{"stage": "rx", "what": "eth0, 74 B", "at_ns": 0}, {"stage": "service", "what": "-t 10.0.0.100:80 wlc", "at_ns": 300}, {"stage": "conn", "what": "no entry", "at_ns": 500}, {"stage": "sched", "what": "", "pick": pick, "at_ns": 1100},
				{"stage": "conn", "what": "new → 10.0.0.12:80 Route", "at_ns": 1200}, {"stage": "neigh", "what": "02:00:00:00:00:b2", "at_ns": 1400},
				{"stage": "rewrite", "what": "", "at_ns": 1600, "changes": []object{{"field": "eth.dst", "before": "02:00:00:00:00:02", "after": "02:00:00:00:00:b2"}, {"field": "ip.dst", "before": "10.0.0.100", "after": "10.0.0.100", "note": "so the server must own the VIP, silently"}}},
				{"stage": "tx", "what": "eth0, 74 B", "at_ns": 2000}}},
		{"number": 2, "time": "2026-11-28T07:00:01Z", "interface": "eth0", "length": 60, "packet": "tcp 172.16.0.9:5001 > 10.0.0.100:80 ACK", "verdict": "drop-state", "took_ns": 900,
			"steps": []object{{"stage": "rx", "what": "eth0, 60 B", "at_ns": 0}, {"stage": "conn", "what": "no entry", "at_ns": 400}}},
		{"number": 3, "time": "2026-11-28T07:00:02Z", "interface": "eth1", "length": 74, "packet": "tcp 10.0.0.11:80 > 172.16.0.9:5002 SYN,ACK", "verdict": "forward", "took_ns": 1900,
			"steps": []object{{"stage": "rx", "what": "eth1, 74 B", "at_ns": 0}, {"stage": "conn", "what": "SYN_RECV 172.16.0.9:5002 → 10.0.0.11:80 Masq, reply of the server", "at_ns": 400},
				{"stage": "rewrite", "what": "", "at_ns": 500, "changes": []object{{"field": "ip.src", "before": "10.0.0.11", "after": "10.0.0.100"}, {"field": "sport", "before": "8080", "after": "80"}}}, {"stage": "tx", "what": "eth0, 74 B", "at_ns": 700}}},
	}
}

// foretold is what would become of a packet, with every text made by word.
func foretold(word func(string) string) object {
	e := object{"number": 0, "time": "2026-11-28T07:00:00Z", "interface": "eth0", "length": 54, "packet": word("tcp 172.16.0.9:7000 > 10.0.0.100:80 SYN"), "verdict": "drop-no-server", "took_ns": 1, "line": word("dropped"),
		"steps":   []object{{"stage": "rx", "what": "eth0", "at_ns": 0}, {"stage": "sched", "what": word("no server can take it"), "notes": []string{word("rs1 has weight 0")}, "at_ns": 5}},
		"meaning": object{"code": "drop-no-server", "means": word("No server.")}}
	return e
}

// recording is one of four connections by rr to two servers.
func recording() []object {
	lines := []object{{"at": 0, "do": "begin", "service": object{"name": "tcp 10.0.0.100:80", "scheduler": "rr", "servers": []object{{"address": "10.0.0.11:80", "weight": 1}, {"address": "10.0.0.12:80", "weight": 1}}}}}
	for i, server := range []string{"10.0.0.12:80", "10.0.0.11:80", "10.0.0.12:80", "10.0.0.11:80"} {
		lines = append(lines, object{"at": float64(i), "do": "new", "protocol": 6, "client": "172.16.0.9:500" + string(rune('0'+i)), "virtual": "10.0.0.100:80", "conn": i + 1, "server": server})
	}
	return lines
}

// plainDirector is a director in good health.
func plainDirector() *fakeDirector {
	d := newFakeDirector(object{
		"/v1/about": object{"program": "uvs", "version": "test", "api": 1, "pid": 7}, "/v1/services": services(300), "/v1/totals": stats(900, 15, 300), "/v1/counters": object{"forward": 1000, "pass": 5},
		"/v1/connections": []object{connection("tcp", "172.16.0.9:5000", "10.0.0.11:80", "ESTABLISHED"), connection("tcp", "172.16.0.9:5001", "10.0.0.12:80", "ESTABLISHED"), connection("udp", "172.16.0.8:5001", "10.0.0.12:80", "NONE")},
		"/v1/daemons":     []object{{"state": "master", "interface": "eth0", "sync_id": 3}}, "/v1/trace": nil, "/v1/trace/last": packets()[0], "/v1/events": nil,
		"/v1/verdicts": []object{}, "/v1/verdicts/forward": object{"code": "forward", "means": "Sent on, rewritten by the forwarding method.", "fix": ""}, "/v1/verdicts/drop-state": object{"code": "drop-state", "means": "It belongs to no connection.", "fix": "Nothing, if it is one packet."},
		"/v1/explain": foretold(plain), "/v1/services/{service}/recording": nil,
		"/v1/drops":  []object{{"code": "drop-state", "means": "It belongs to no connection.", "fix": "Nothing, if it is one packet.", "frames": 5, "last": packets()[1]}, {"code": "drop-ttl", "frames": 0}},
		"/v1/vips":   []object{{"service": object{"protocol": "tcp", "address": "10.0.0.100", "port": 80}, "vip_role": "always", "answers": true, "serves": true}},
		"/v1/checks": []object{{"service": object{"protocol": "tcp", "address": "10.0.0.100", "port": 80}, "server": "10.0.0.12:80", "state": "down", "result": "answers on its own address, not as the VIP", "vip": object{"ok": false, "answer": "no answer"}, "own": object{"ok": true, "answer": "status 200"}, "held": true}},
	})
	d.handle("/v1/trace", func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range packets() {
			_ = json.NewEncoder(w).Encode(p)
		}
	})
	d.handle("/v1/services/tcp:10.0.0.100:80/recording", func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range recording() {
			_ = json.NewEncoder(w).Encode(line)
		}
	})
	d.handle("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("id: 1-1\nevent: guard-restored\ndata: {\"id\":\"1-1\",\"time\":\"2026-11-28T07:00:00Z\",\"level\":\"warn\",\"event\":\"guard-restored\",\"message\":\"the guard was flushed; it is back\",\"attributes\":{\"table\":\"uvs\"}}\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	return d
}
