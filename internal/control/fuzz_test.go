package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
)

// FuzzRequests sends any body to any path. A request succeeds, or it is refused with a status
// of 400 to 499 and a problem with a code, and nothing changes. Afterwards the configuration
// can be read and added to a new director.
func FuzzRequests(f *testing.F) {
	for _, seed := range [][3]string{
		{"POST", "/v1/services", aService},
		{"PUT", "/v1/services/tcp:10.0.0.1:80", aService},
		{"POST", "/v1/services/tcp:10.0.0.1:80/servers", `{"address":"10.1.0.1","port":80,"weight":1,"method":"masq"}`},
		{"PUT", "/v1/services/tcp:10.0.0.1:80/policy", `{"reschedule":true}`},
		{"POST", "/v1/batch", `{"commands":[{"op":"add-service","service":{"mark":3}}]}`},
		{"PUT", "/v1/marks", `[{"mark":5,"protocol":"tcp","destination_ports":"80:90"}]`},
		{"DELETE", "/v1/services/mark:5", ""},
		{"PUT", "/v1/sysctl/sloppy_tcp", `{"value":"1"}`},
		{"PUT", "/v1/timeouts", `{"tcp":1}`},
		{"PUT", "/v1/marks", `[null]`},
		{"PUT", "/v1/marks", `[{"mark":1,"mark":2}]`},
		{"PUT", "/v1/marks", `[{"mark":1,"Mark":2}]`},
		{"POST", "/v1/batch", `{"commands":[null]}`},
		{"POST", "/v1/batch", `{"commands":[{"op":"add-server","service":{"mark":1},"server":{"weight":1,"weight":null}}]}`},
		{"POST", "/v1/services", `{"mark":1,"local_addresses":[null]}`},
		{"POST", "/v1/services", "{\"mark\":1,\"scheduler\":\"\xff\"}"},
		{"POST", "/v1/services", `{"mark":1}{"mark":2}`},
		{"POST", "/v1/services", strings.Repeat(`{"a":[`, 6000)},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if !slices.Contains([]string{"GET", "POST", "PUT", "DELETE"}, method) || !strings.HasPrefix(path, "/v1/") {
			return
		}
		if _, err := url.ParseRequestURI(path); err != nil || strings.ContainsAny(path, " \r\n#") {
			return
		}
		s, d := fuzzServer(t)
		before := d.Services()
		r := httptest.NewRequest(method, "http://uvs"+path, strings.NewReader(body))
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, true))
		answer := httptest.NewRecorder()
		s.handler().ServeHTTP(answer, r)
		if answer.Code >= 500 {
			t.Fatalf("%s %s %q: %d %s", method, path, body, answer.Code, answer.Body)
		}
		if answer.Code == http.StatusNoContent && body != "" && strings.HasPrefix(path, "/v1/marks") && strings.Contains(body, "null") {
			t.Fatalf("%s %s took null in %q", method, path, body)
		}
		if answer.Code >= 400 {
			refused(t, answer)
			if diff := cmp.Diff(before, d.Services(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Fatalf("%s %s %q was refused and changed\n%s", method, path, body, diff)
			}
		}
		again(t, d)
	})
}

func fuzzServer(t *testing.T) (*Server, *controltest.Director) {
	d := controltest.New()
	d.Conns, d.Counted = someConnections, map[string]uint64{"send": 7}
	d.Audited = []config.Account{{Port: "all/0", Received: 7, Outcomes: map[string]uint64{"forward": 7}}}
	var svc config.Service
	if err := json.Unmarshal([]byte(aService), &svc); err != nil {
		t.Fatal(err)
	}
	if err := d.AddService(svc); err != nil {
		t.Fatal(err)
	}
	s := NewServer(d, config.About{}, slog.New(slog.DiscardHandler))
	close(s.closed) // streams of events end with what there is
	return s, d
}

// refused expects a problem with a code.
func refused(t *testing.T, answer *httptest.ResponseRecorder) {
	var f failure
	if answer.Code == http.StatusMethodNotAllowed || answer.Code >= 300 && answer.Code < 400 {
		return
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &f); err != nil || f.Error == nil || f.Error.Code == "" {
		t.Fatalf("%d without a problem: %s", answer.Code, answer.Body)
	}
}

// again expects that the configuration can be added to a new director.
func again(t *testing.T, d *controltest.Director) {
	other := controltest.New()
	for _, s := range d.Services() {
		if err := other.AddService(s.Service); err != nil {
			t.Fatalf("%v cannot be added again: %v", s.Key, err)
		}
		for _, server := range s.Servers {
			if err := other.AddServer(s.Key, server.Server); err != nil {
				t.Fatalf("%v cannot be added to %v again: %v", server.Addr, s.Key, err)
			}
		}
	}
}
