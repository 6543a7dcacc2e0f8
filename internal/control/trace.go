package control

import (
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/explain"
)

// liveStream is what comes with time: one JSON value a line, each sent at once.
type liveStream iter.Seq[any]

func live[T any](all iter.Seq[T]) liveStream {
	return func(yield func(any) bool) {
		all(func(v T) bool { return yield(v) })
	}
}

// maxTrace is the largest number of packets that one request records.
const maxTrace = 1_000_000

func (s *Server) trace(r *http.Request) (any, error) {
	n := 1
	if text := r.URL.Query().Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxTrace {
			return nil, &config.FieldError{Field: "n", Problem: "it is a number from 1 to 1000000"}
		}
	}
	o := config.TraceOptions{Filter: r.URL.Query().Get("filter")}
	for name, to := range map[string]*bool{"neighbours": &o.Neighbours, "frames": &o.Frames} {
		var err error
		if text := r.URL.Query().Get(name); text == "" {
			continue
		} else if *to, err = strconv.ParseBool(text); err != nil {
			return nil, &config.FieldError{Field: name, Problem: "it is true or false"}
		}
	}
	if !mayWrite(r.Context()) {
		return nil, config.ErrRefused // recording costs the director time
	}
	records, err := s.director.Trace(r.Context(), n, o)
	if err != nil {
		return nil, err
	}
	return live(records), nil
}

// record answers with what becomes of the connections to a service.
func (s *Server) record(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	if !mayWrite(r.Context()) {
		return nil, config.ErrRefused
	}
	lines, err := s.director.Record(r.Context(), k)
	if err != nil {
		return nil, err
	}
	return live(lines), nil
}

func (s *Server) recentTrace(r *http.Request) (any, error) {
	n, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil {
		return nil, &config.FieldError{Field: "number", Problem: "it is a number, or last"}
	}
	return s.director.RecentTrace(n)
}

// explain makes a dry run of a packet. It changes nothing, but it costs the director time.
func (s *Server) explain(r *http.Request) (any, error) {
	var p config.DryPacket
	if err := decode(r.Body, &p); err != nil {
		return nil, err
	}
	there, back, err := s.director.DryRun(p)
	if err != nil {
		return nil, err
	}
	return explain.Explain(there, back), nil
}

func (s *Server) explainLast(*http.Request) (any, error) {
	t, err := s.director.LastTrace()
	if err != nil {
		return nil, err
	}
	return explain.Explain(t, nil), nil
}

// follow writes a live answer until it or its reader ends.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, records liveStream) {
	w.Header().Set("Content-Type", "application/jsonl")
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // that of the request would end the recording
	encoder := json.NewEncoder(w)
	if err := out.Flush(); err != nil {
		return
	}
	for record := range records {
		if encoder.Encode(record) != nil || out.Flush() != nil {
			return
		}
	}
}
