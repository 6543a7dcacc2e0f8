package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
)

// director hands reading requests on to the director's control API, and its answers back
// as they come.
func (s *Server) director() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "uvs"})
			query := r.Out.URL.Query()
			query.Del("token")
			r.Out.URL.RawQuery = query.Encode()
			kept := r.Out.Header.Get("Last-Event-ID")
			r.Out.Header = http.Header{}
			if kept != "" {
				r.Out.Header.Set("Last-Event-ID", kept)
			}
		},
		Transport:     s.Director.RoundTripper(),
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Cache-Control", "no-store")
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			fail(w, http.StatusBadGateway, "no_director", err.Error())
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if endless(r.URL.Path) {
			leave, ok := s.stream(w)
			if !ok {
				return
			}
			defer leave()
		}
		proxy.ServeHTTP(w, r)
	})
}

// endless reports whether an answer of the control API may have no end.
func endless(path string) bool {
	return path == "/v1/events" || strings.HasPrefix(path, "/v1/trace") || strings.HasSuffix(path, "/recording")
}

// maxListed is how many connections one answer has.
const maxListed = 1000

// connectionList is a part of the connection table, as the control API has it.
type connectionList struct {
	Total       int               `json:"total"`
	Matched     int               `json:"matched"`
	Connections []json.RawMessage `json:"connections"` // the first of those that matched
}

// connections lists the connections that match the words of the parameter filter, limit of
// them at most. It reads the table as it comes, so that a large one needs no memory here.
func (s *Server) connections(ctx context.Context, query url.Values) (any, error) {
	limit := 200
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 || limit > maxListed {
			return nil, fmt.Errorf("%w: limit is a number up to %d", ErrBadQuestion, maxListed)
		}
	}
	words := strings.Fields(strings.ToLower(query.Get("filter")))
	list := connectionList{Connections: []json.RawMessage{}}
	err := read(ctx, s.Director, "/v1/connections", func(d *json.Decoder) error {
		if _, err := d.Token(); err != nil {
			return err
		}
		for d.More() {
			var text json.RawMessage
			if err := d.Decode(&text); err != nil {
				return err
			}
			list.Total++
			if !matches(text, words) {
				continue
			}
			if list.Matched++; list.Matched <= limit {
				list.Connections = append(list.Connections, text)
			}
		}
		return nil
	})
	return list, err
}

// matches reports whether each word is part of a field of a connection: of any field, or
// of the one that it names as in "state:established".
func matches(text json.RawMessage, words []string) bool {
	if len(words) == 0 {
		return true
	}
	var fields map[string]any
	_ = json.Unmarshal(text, &fields)
	for _, w := range words {
		if !matchesWord(fields, w) {
			return false
		}
	}
	return true
}

func matchesWord(fields map[string]any, word string) bool {
	if name, part, ok := strings.Cut(word, ":"); ok {
		if value, known := fields[name].(string); known {
			return strings.Contains(strings.ToLower(value), part)
		}
	}
	for _, value := range fields {
		if text, ok := value.(string); ok && strings.Contains(strings.ToLower(text), word) {
			return true
		}
	}
	return false
}

// explain answers what would become of the packet in the parameter packet (JSON, as POST
// /v1/explain takes it). Nothing is sent or changed.
func (s *Server) explain(ctx context.Context, query url.Values) (any, error) {
	var p config.DryPacket
	if err := json.Unmarshal([]byte(query.Get("packet")), &p); err != nil {
		return nil, fmt.Errorf("%w: packet: %w", ErrBadQuestion, err)
	}
	e, err := s.Director.Explain(ctx, p)
	if errors.Is(err, config.ErrInvalid) {
		err = fmt.Errorf("%w: %w", ErrBadQuestion, err)
	}
	return e, err
}

// get reads the JSON at a path of the director's control API.
func get(ctx context.Context, c *client.Client, path string, into any) error {
	return read(ctx, c, path, func(d *json.Decoder) error { return d.Decode(into) })
}

func read(ctx context.Context, c *client.Client, path string, decode func(*json.Decoder) error) error {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://uvs"+path, nil)
	if err != nil {
		return err
	}
	a, err := c.RoundTripper().RoundTrip(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, a.Status)
	}
	if err := decode(json.NewDecoder(a.Body)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, _ = io.Copy(io.Discard, a.Body)
	return nil
}
