// Package get is a small HTTP client for nodes that have no curl. It opens a connection
// for every request, so a director schedules each of them.
package get

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"strings"
	"time"
)

// Config says what to fetch and how.
type Config struct {
	URLs     []string      // "http://" may be missing
	Times    int           // how often each, 1 if 0
	Timeout  time.Duration // for each, none if 0
	Head     bool          // ask for headers only and print them
	Include  bool          // print headers before the body
	Fail     bool          // a status of 400 and more is an error and prints nothing
	Progress bool          // print a line for each answer instead of its body
}

// Run fetches everything in order and writes the bodies to w. It continues after an error
// and returns all errors at the end, or when ctx ends.
func Run(ctx context.Context, cfg Config, w io.Writer) error {
	client := &http.Client{
		Timeout: cfg.Timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       (&net.Dialer{}).DialContext,
		},
		// Redirects are shown, not followed, as by curl without -L.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var errs []error
	for range max(cfg.Times, 1) {
		for _, u := range cfg.URLs {
			if ctx.Err() != nil {
				return errors.Join(errs...)
			}
			errs = append(errs, cfg.fetch(ctx, client, withScheme(u), w))
		}
	}
	return errors.Join(errs...)
}

func withScheme(u string) string {
	if strings.Contains(u, "://") {
		return u
	}
	return "http://" + u
}

func (cfg Config) fetch(ctx context.Context, client *http.Client, url string, w io.Writer) error {
	method := http.MethodGet
	if cfg.Head {
		method = http.MethodHead
	}
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	began := time.Now()
	resp, err := client.Do(req)
	var failed *neturl.Error
	if errors.As(err, &failed) {
		err = failed.Err // without net/http's text about method and address
	}
	if err != nil {
		return fmt.Errorf("get: %s: %w", url, err)
	}
	defer resp.Body.Close()
	if cfg.Fail && resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("get: %s: %s", url, resp.Status)
	}
	if cfg.Progress {
		return progress(w, resp, began)
	}
	if cfg.Head || cfg.Include {
		fmt.Fprintf(w, "%s %s\r\n", resp.Proto, resp.Status)
		_ = resp.Header.Write(w)
		fmt.Fprint(w, "\r\n")
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("get: %s: %w", url, err)
	}
	return nil
}

// progress writes a response as one line: status, server, size and time.
func progress(w io.Writer, resp *http.Response, began time.Time) error {
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	server := resp.Header.Get("Real-Server")
	if server == "" {
		server = "-"
	}
	took := time.Since(began)
	_, err = fmt.Fprintf(w, "%d %s %d bytes %.1f ms\n", resp.StatusCode, server, n, float64(took.Microseconds())/1000)
	return err
}
