// Package page serves one page for a browser that shows what a director does: the map of
// its services and servers, packets step by step, how schedulers share connections out,
// the connection table, and what else its sources tell.
//
// The page is plain HTML, CSS and modules of JavaScript, embedded in the binary, and asks
// nobody but this server. What it shows comes from the director's control API, which is
// handed through under its own paths (GET only), and from the sources of a Config, under
// /page. So whatever is on the page can be had as JSON.
//
// A Server answers to readers who know its token, and to none that another site's page
// sends (see admit). It changes nothing: recording packets is the most that a reader can
// have the director do. All methods are safe for concurrent use.
package page

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/net/netutil"

	"uvs/forwarder/client"
)

//go:embed static
var static embed.FS

// A Source answers one more kind of question, with what becomes JSON: a lab's nodes, the
// doctor's findings, a benchmark's report.
type Source func(ctx context.Context, query url.Values) (any, error)

// ErrBadQuestion is the error of a Source about its query.
var ErrBadQuestion = errors.New("bad question")

// Config says what a Server shows and to whom.
type Config struct {
	Director *client.Client
	Token    string            // that a reader has to know; empty: none
	Hosts    []string          // by which browsers may call the server, besides localhost and any IP address
	Sources  map[string]Source // by their names under /page/
	Title    string            // of what is shown, such as a lab's name; may be empty
	Log      *slog.Logger
}

// Server serves the page.
type Server struct {
	Config
	live    *live
	streams chan struct{} // one for each answer without an end
}

// Bounds of a connection.
const (
	maxConnections = 256
	maxStreams     = 48
	maxHeader      = 16 << 10 // bytes
	headerTime     = 10 * time.Second
	idleTime       = 2 * time.Minute
	writeTime      = 10 * time.Second // for one event or answer
)

// New returns a server. Serve it, or use its Handler.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{Config: c, live: newLive(c.Director), streams: make(chan struct{}, maxStreams)}
}

// Serve answers on l until the context ends, and closes it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := http.Server{
		Handler:           s.Handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { h.Close() })()
	if err := h.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler returns the handler of all paths.
func (s *Server) Handler() http.Handler {
	files, _ := fs.Sub(static, "static")
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.Handle("GET /v1/", s.known(s.director()))
	mux.HandleFunc("GET /page/about", s.about)
	mux.Handle("GET /page/live", s.known(http.HandlerFunc(s.follow)))
	mux.Handle("GET /page/connections", s.known(s.source(s.connections)))
	mux.Handle("GET /page/explain", s.known(s.source(s.explain)))
	mux.Handle("GET /page/what-if", s.known(s.source(whatIf)))
	mux.Handle("GET /page/replay", s.known(s.source(s.replay)))
	for name, source := range s.Sources {
		mux.Handle("GET /page/"+name, s.known(s.source(source)))
	}
	return s.admit(mux)
}

// about says what the page can show: the sources, and the paths of the director's API. Who
// does not know the token is told only that.
func (s *Server) about(w http.ResponseWriter, r *http.Request) {
	if s.Token != "" && !s.knows(r) {
		answer(w, http.StatusOK, map[string]any{"token": "needed"})
		return
	}
	var api struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	lost := ""
	if err := get(r.Context(), s.Director, "/v1/openapi.json", &api); err != nil {
		lost = err.Error()
	}
	maps.DeleteFunc(api.Paths, func(_ string, methods map[string]json.RawMessage) bool { return methods["get"] == nil })
	answer(w, http.StatusOK, map[string]any{"title": s.Title, "lost": lost,
		"sources": names(s.Sources), "paths": names(api.Paths)})
}

// names returns the keys of a map in order, never nil.
func names[T any](m map[string]T) []string {
	all := slices.AppendSeq([]string{}, maps.Keys(m))
	slices.Sort(all)
	return all
}

// source answers with the JSON of a Source.
func (s *Server) source(from Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := from(r.Context(), r.URL.Query())
		if err != nil {
			status := http.StatusBadGateway
			if errors.Is(err, ErrBadQuestion) {
				status = http.StatusBadRequest
			}
			fail(w, status, "source_failed", err.Error())
			return
		}
		answer(w, http.StatusOK, result)
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"no JSON"}}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// fail answers with an error in the form of the control API.
func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// stream takes the place of an answer without an end. It reports false, and answers, if
// there is none left.
func (s *Server) stream(w http.ResponseWriter) (leave func(), ok bool) {
	select {
	case s.streams <- struct{}{}:
		return func() { <-s.streams }, true
	default:
		fail(w, http.StatusServiceUnavailable, "busy", "too many pages are open")
		return nil, false
	}
}
