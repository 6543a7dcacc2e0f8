package control

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"iter"
	"net/http"
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/internal/explain"
)

//go:embed openapi.json
var openAPI []byte

// A route is a method and path of the API and its function. A nil result is an answer
// without a body.
type route struct {
	pattern string
	do      func(*http.Request) (any, error)
}

func (s *Server) routes() []route { return append(s.settings(), s.views()...) }

// settings are the routes of what an administrator configures.
func (s *Server) settings() []route {
	const (
		service = "/v1/services/{service}"
		servers = service + "/servers"
		local   = service + "/local-addresses"
	)
	return append(s.checkRoutes(), []route{
		{"GET /v1/about", func(*http.Request) (any, error) { return s.about, nil }},
		{"GET /v1/openapi.json", func(*http.Request) (any, error) { return json.RawMessage(openAPI), nil }},
		{"POST /v1/batch", s.batch},
		{"POST /v1/replace", s.replace},
		{"GET /v1/services", func(*http.Request) (any, error) { return streamOf(s.director.Services()), nil }},
		{"POST /v1/services", s.addService},
		{"DELETE /v1/services", func(*http.Request) (any, error) { return nil, s.director.Flush() }},
		{"GET " + service, s.service},
		{"PUT " + service, s.editService},
		{"DELETE " + service, s.deleteService},
		{"POST " + service + "/zero", s.zeroService},
		{"POST /v1/zero", func(*http.Request) (any, error) { return nil, s.director.Zero(nil) }},

		{"POST " + servers, s.addServer},
		{"PUT " + servers + "/{server}", s.editServer},
		{"DELETE " + servers + "/{server}", s.deleteServer},
		{"PUT " + local + "/{address}", s.addLocal},
		{"DELETE " + local + "/{address}", s.deleteLocal},
		{"PUT " + service + "/policy", s.setPolicy},
		{"PUT " + service + "/syn-proxy", s.setSynProxy},
		{"PUT " + service + "/vip-role", s.setVIPRole},
		{"GET /v1/vips", func(*http.Request) (any, error) { return streamOf(s.director.VIPs()), nil }},

		{"GET /v1/marks", func(*http.Request) (any, error) { return streamOf(s.director.Marks()), nil }},
		{"PUT /v1/marks", s.setMarks},
		{"POST /v1/marks", s.addMark},
		{"POST /v1/marks/delete", s.deleteMark},

		{"GET /v1/sysctl", func(*http.Request) (any, error) { return streamOf(s.director.Sysctls()), nil }},
		{"PUT /v1/sysctl/{name}", s.setSysctl},

		{"GET /v1/timeouts", func(*http.Request) (any, error) { return s.director.Timeouts(), nil }},
		{"PUT /v1/timeouts", s.setTimeouts},
		{"GET /v1/daemons", func(*http.Request) (any, error) { return streamOf(s.director.Daemons()), nil }},
		{"POST /v1/daemons", s.startDaemon},
		{"DELETE /v1/daemons/{state}", s.stopDaemon},
	}...)
}

// views are the routes of what the director does.
func (s *Server) views() []route {
	return []route{
		{"GET /v1/services/{service}/recording", s.record},
		{"GET /v1/trace", s.trace},
		{"GET /v1/trace/last", func(*http.Request) (any, error) { return s.director.LastTrace() }},
		{"GET /v1/trace/{number}", s.recentTrace},
		{"POST /v1/explain", s.explain},
		{"GET /v1/explain/last", s.explainLast},
		{"GET /v1/verdicts", func(*http.Request) (any, error) { return explain.Meanings(), nil }},
		{"GET /v1/verdicts/{code}", func(r *http.Request) (any, error) { return explain.Meaning(r.PathValue("code")) }},
		{"GET /v1/drops", func(*http.Request) (any, error) {
			return explain.DropsOf(s.director.Counters(), s.director.LastDrops()), nil
		}},
		{"GET /v1/events", s.events},
		{"GET /v1/summary", s.summary},
		{"GET /v1/totals", func(*http.Request) (any, error) { return s.director.Totals(), nil }},
		{"GET /v1/counters", func(*http.Request) (any, error) { return s.director.Counters(), nil }},
		{"GET /v1/accounts", func(*http.Request) (any, error) { return streamOf(s.director.Accounts()), nil }},
		{"GET /v1/connections", func(*http.Request) (any, error) { return streamOf(s.director.Connections()), nil }},
	}
}

func (s *Server) batch(r *http.Request) (any, error) {
	var b config.Batch
	if err := decode(r.Body, &b); err != nil {
		return nil, err
	}
	if b.Commands == nil {
		return nil, &config.FieldError{Field: "commands", Problem: "a batch needs them"}
	}
	result := config.BatchResult{Problems: []*config.Problem{}}
	for _, err := range s.director.Apply(b.Commands, b.Atomic) {
		result.Problems = append(result.Problems, config.ProblemOf(err))
	}
	return result, nil
}

func (s *Server) addService(r *http.Request) (any, error) {
	var c config.Service
	if err := decode(r.Body, &c); err != nil {
		return nil, err
	}
	return nil, s.director.AddService(c)
}

func (s *Server) service(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	return s.director.State(k)
}

func keyOf(r *http.Request) (config.Key, error) { return config.ParseKey(r.PathValue("service")) }

func (s *Server) editService(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	var c config.Service
	if err := decode(r.Body, &c); err != nil {
		return nil, err
	}
	if c.Key != (config.Key{}) && c.Key.Normal() != k {
		return nil, &config.FieldError{Field: "service", Problem: "path and body name different services"}
	}
	c.Key = k
	return nil, s.director.EditService(c)
}

func (s *Server) deleteService(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	return nil, s.director.DeleteService(k)
}

func (s *Server) zeroService(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	return nil, s.director.Zero(&k)
}

func (s *Server) addServer(r *http.Request) (any, error) {
	k, c, err := serverOf(r)
	if err != nil {
		return nil, err
	}
	return nil, s.director.AddServer(k, c)
}

// serverOf reads the server in a request; missing fields have their defaults.
func serverOf(r *http.Request) (k config.Key, c config.Server, err error) {
	if k, err = keyOf(r); err != nil {
		return k, c, err
	}
	return k, c, decode(r.Body, &c)
}

func (s *Server) editServer(r *http.Request) (any, error) {
	addr, err := addrPortOf(r)
	if err != nil {
		return nil, err
	}
	k, c, err := serverOf(r)
	if err != nil {
		return nil, err
	}
	if c.Addr.IsValid() && c.AddrPort() != addr {
		return nil, &config.FieldError{Field: "server", Problem: "path and body name different servers"}
	}
	c.Addr, c.Port = addr.Addr(), addr.Port()
	return nil, s.director.EditServer(k, c)
}

func addrPortOf(r *http.Request) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(r.PathValue("server"))
	if err != nil {
		return addr, &config.FieldError{Field: "server", Problem: err.Error()}
	}
	return addr, nil
}

func (s *Server) deleteServer(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	addr, err := addrPortOf(r)
	if err != nil {
		return nil, err
	}
	return nil, s.director.DeleteServer(k, addr)
}

func (s *Server) addLocal(r *http.Request) (any, error) { return s.local(r, s.director.AddLocal) }

func (s *Server) deleteLocal(r *http.Request) (any, error) {
	return s.local(r, s.director.DeleteLocal)
}

func (s *Server) local(r *http.Request, do func(config.Key, netip.Addr) error) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	a, err := netip.ParseAddr(r.PathValue("address"))
	if err != nil {
		return nil, &config.FieldError{Field: "address", Problem: err.Error()}
	}
	return nil, do(k, a)
}

func (s *Server) setPolicy(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	var p config.Policy
	if err := decode(r.Body, &p); err != nil {
		return nil, err
	}
	return nil, s.director.SetPolicy(k, p)
}

func (s *Server) setSynProxy(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	var p config.SynProxy
	if err := decode(r.Body, &p); err != nil {
		return nil, err
	}
	return nil, s.director.SetSynProxy(k, p.On)
}

func (s *Server) setVIPRole(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	var v config.VIPSetting
	if err := decode(r.Body, &v); err != nil {
		return nil, err
	}
	return nil, s.director.SetVIPRole(k, v.Role)
}

func (s *Server) setTimeouts(r *http.Request) (any, error) {
	var t config.Timeouts
	if err := decode(r.Body, &t); err != nil {
		return nil, err
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return nil, s.director.SetTimeouts(t)
}

func (s *Server) startDaemon(r *http.Request) (any, error) {
	var d config.Daemon
	if err := decode(r.Body, &d); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return nil, s.director.StartDaemon(d)
}

func (s *Server) stopDaemon(r *http.Request) (any, error) {
	d := config.Daemon{State: config.DaemonState(r.PathValue("state"))}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return nil, s.director.StopDaemon(d.State)
}

// A stream is a list that is written element by element, so that a million connections are
// not all in memory as JSON.
type stream iter.Seq[any]

func streamOf[T any](list []T) stream {
	return func(yield func(any) bool) {
		for v := range slices.Values(list) {
			if !yield(v) {
				return
			}
		}
	}
}

// list writes a stream as a JSON list, one element a line.
func (s *Server) list(w http.ResponseWriter, r *http.Request, elements stream) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 1<<16)
	between := "["
	for v := range elements {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // the types of package config always marshal
		}
		out.WriteString(between)
		out.WriteByte('\n')
		out.Write(text)
		between = ","
	}
	if between == "[" {
		out.WriteString(between)
	}
	out.WriteString("]\n")
	if err := out.Flush(); err != nil {
		s.log.Debug("control: list not sent", "path", r.URL.Path, "error", err)
	}
}
