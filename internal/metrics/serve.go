package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"uvs/internal/fdstore"
)

// Address returns the network and the address that a text names: a port, which is that of the
// loopback address; ADDRESS:PORT; or a unix socket, a path or @NAME.
func Address(text string) (network, address string, err error) {
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "@") {
		return "unix", text, nil
	}
	host, port, ok := "", text, true
	if strings.ContainsAny(text, ":") {
		var problem error
		host, port, problem = net.SplitHostPort(text)
		ok = problem == nil
	}
	n, problem := strconv.ParseUint(port, 10, 16)
	if !ok || problem != nil {
		return "", "", fmt.Errorf("%q: a port (of the loopback address), ADDRESS:PORT, or the path of a unix socket", text)
	}
	switch host {
	case "", "localhost":
		host = "127.0.0.1"
	default:
		a, err := netip.ParseAddr(host)
		if err != nil {
			return "", "", fmt.Errorf("%q: %s is no IP address", text, host)
		}
		host = a.String()
	}
	return "tcp", net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// kept is the name of the listening socket in the store.
const kept = "metrics"

// Listen listens on what Address returned, or goes on with the socket that the store has from
// an earlier process, if it is that of the same address. Scrapes wait in it while no director
// runs.
func Listen(network, address string, store *fdstore.Store) (net.Listener, error) {
	if l := take(network, address, store); l != nil {
		return l, nil
	}
	if err := store.Forget(kept); err != nil {
		return nil, err
	}
	l, err := net.Listen(network, address)
	if errors.Is(err, syscall.EADDRINUSE) && network == "unix" && abandoned(address) {
		_ = os.Remove(address)
		l, err = net.Listen(network, address)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return l, store.Keep(kept, l.(syscall.Conn))
}

// abandoned reports whether nobody listens on a unix socket that is a file.
func abandoned(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func take(network, address string, store *fdstore.Store) net.Listener {
	f := store.Take(kept)
	if f == nil {
		return nil
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil
	}
	if at := l.Addr(); at.Network() != network || at.String() != address {
		l.Close()
		return nil
	}
	return l
}

// Bounds of a scrape. One is answered after the other.
const (
	headerTime = 10 * time.Second
	answerTime = 30 * time.Second
	idleTime   = 2 * time.Minute
	scrapes    = 8 // that wait or are answered
)

// Server serves metrics over HTTP.
type Server struct {
	http http.Server
	l    net.Listener
}

// NewServer returns a server of m on a listener. using is called around each scrape, and
// reports whether the director can be used.
func NewServer(m *Metrics, l net.Listener, using func(func()) bool, log *slog.Logger) *Server {
	show := promhttp.HandlerForTransactional(m, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandling:       promhttp.ContinueOnError,
		DisableCompression:  true, // it takes longer than the rest of a large scrape
		MaxRequestsInFlight: scrapes,
		EnableOpenMetrics:   true,
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		answer := &wholeAnswer{ResponseWriter: w, status: http.StatusOK, body: bodies.Get().(*bytes.Buffer)}
		defer bodies.Put(answer.body)
		answer.body.Reset()
		if !using(func() { show.ServeHTTP(answer, r) }) {
			http.Error(w, "the director ends", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes())
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!doctype html><title>uvs director</title><p>Metrics of this director are at <a href=\"/metrics\">/metrics</a>.\n")
	})
	return &Server{l: l, http: http.Server{
		Handler: mux, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// wholeAnswer is an answer that is written when it is complete: a slow reader must hold up
// neither the director nor other readers.
type wholeAnswer struct {
	http.ResponseWriter
	status int
	body   *bytes.Buffer
}

// bodies are used again: that of 10,000 servers has 10 MB.
var bodies = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// WriteHeader implements http.ResponseWriter.
func (a *wholeAnswer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *wholeAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }

// Serve answers until Close or Leave.
func (s *Server) Serve() { _ = s.http.Serve(s.l) }

// Close ends the server, and with it the file of a unix socket.
func (s *Server) Close() { _ = s.http.Close(); _ = s.l.Close() }

// Leave ends the server, but lets those have their answers who have asked, for a moment. Who
// asks from now on waits for the next director, if a store keeps the socket.
func (s *Server) Leave() {
	if u, ok := s.l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	_ = s.l.Close()
}

// leaveTime is how long answers may take when the director is replaced.
const leaveTime = 200 * time.Millisecond
