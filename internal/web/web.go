// Package web is the real server of labs and tests: a web server that returns its name, so
// that a client sees which server answered, and responders over UDP.
//
//	GET  /         its name, "Web1"
//	GET  /bytes/N  N bytes that depend on nothing but N: [Stream]
//	POST /sum      the SHA-256 and length of what was sent
//	GET  /client   the client's address and port as the server sees them
//
// Every response names the server in the header Real-Server. Over UDP it answers DNS
// queries with its name as TXT record and the queried address as A or AAAA, and echoes
// datagrams of any size.
package web

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Config says what to serve where. Empty addresses are not served.
type Config struct {
	Name string // what the server says
	HTTP string // TCP address, ":80"
	DNS  string // UDP address of the DNS responder
	Echo string // UDP address of the echo responder
	Log  *slog.Logger
}

// Serve serves until ctx ends or one of the servers fails.
func Serve(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 3)
	start := func(address string, serve func(context.Context, string) error) {
		if address != "" {
			go func() { failed <- serve(ctx, address) }()
		}
	}
	// The responders first: once the web server is reachable, all are.
	start(cfg.DNS, func(ctx context.Context, a string) error { return respond(ctx, a, cfg.dns) })
	start(cfg.Echo, func(ctx context.Context, a string) error { return respond(ctx, a, echo) })
	start(cfg.HTTP, cfg.http)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func (cfg Config) http(ctx context.Context, address string) error {
	s := &http.Server{Addr: address, Handler: cfg.Handler(), ReadHeaderTimeout: time.Minute}
	s.ErrorLog = slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

// Handler returns the web server's pages.
func (cfg Config) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, cfg.Name) })
	mux.HandleFunc("GET /bytes/{n}", sendBytes)
	mux.HandleFunc("POST /sum", sum)
	mux.HandleFunc("GET /client", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Real-Server", cfg.Name)
		mux.ServeHTTP(w, r)
	})
}

func sendBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, "not a number of bytes", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, _ = io.Copy(w, Stream(n))
}

func sum(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %d\n", hex.EncodeToString(h.Sum(nil)), n)
}

// Stream returns n bytes of a pseudo-random stream that is the same in every process.
// Parts do not repeat, so a lost, duplicated or reordered segment changes the hash.
func Stream(n int64) io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(n))
	return io.LimitReader(rand.NewChaCha8(seed), n)
}
