// Package client drives a running director from another program: a thin layer
// over its control API (docs/api.md).
//
//	c := client.New("") // the director of this network namespace
//	err := c.AddService(ctx, config.Service{Key: key, Scheduler: "wlc"})
//
// The types are those of package config. Errors a director reports satisfy
// errors.Is with that package's, such as config.ErrServiceExists; others are
// those of the connection, ErrNoDirector among them. A client believes only a
// director that runs as root or as its own user. It keeps one connection open,
// needs no closing and is safe for concurrent use.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/peer"
)

// ErrNoDirector is returned when nobody listens on the control socket.
var ErrNoDirector = errors.New("no director answers")

// ErrNotTrusted is returned when the socket belongs to another user than root
// or one's own.
var ErrNotTrusted = errors.New("the socket belongs to another user")

// patience is how long a director may take to begin its answer. The longest,
// to a batch of 100,000 rules, takes seconds.
const patience = time.Minute

// Client is a connection to a director's control API.
type Client struct {
	socket  string
	start   func(ctx context.Context, socket string) error // nil: none
	within  func(func() error) error
	connect func(ctx context.Context, socket string) (net.Conn, error)
	http    http.Client
}

// An Option changes what New returns.
type Option func(*Client)

// WithStart makes the client call start when nobody listens on the socket, and
// then try once more. start returns when a director answers or cannot.
func WithStart(start func(ctx context.Context, socket string) error) Option {
	return func(c *Client) { c.start = start }
}

// Within makes the client connect, and call what WithStart has named, inside in, which runs a
// function and returns its error: in another network namespace, say.
func Within(in func(func() error) error) Option {
	return func(c *Client) { c.within = in }
}

// ConnectedBy makes the client connect by a function of the caller's, which vouches for who
// listens on the socket: for one in a network namespace that the process cannot enter.
func ConnectedBy(connect func(ctx context.Context, socket string) (net.Conn, error)) Option {
	return func(c *Client) { c.connect = connect }
}

// New returns a client for the control socket at address: a path, or a name in
// the abstract namespace that starts with "@". An empty address is that of
// UVS_SOCKET, and without it the director of this network namespace. Nothing is
// sent yet.
func New(address string, options ...Option) *Client {
	if address == "" {
		address = peer.Socket()
	}
	c := &Client{socket: address, connect: dial, within: func(f func() error) error { return f() }}
	for _, option := range options {
		option(c)
	}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = c.within(func() (err error) {
				conn, err = c.dial(ctx)
				return err
			})
			return conn, err
		},
		MaxIdleConns:    1,
		IdleConnTimeout: time.Minute,

		ResponseHeaderTimeout: patience,
	}
	return c
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.connect(ctx, c.socket)
	if c.start == nil || !errors.Is(err, ErrNoDirector) && !errors.Is(err, ErrNotTrusted) {
		return conn, err
	}
	if err := c.start(ctx, c.socket); err != nil {
		return nil, err
	}
	return c.connect(ctx, c.socket)
}

// Socket returns the address of the control socket.
func (c *Client) Socket() string { return c.socket }

// RoundTripper returns the client's way to the director, for a program that hands requests
// to its control API on. Their paths count; their host does not.
func (c *Client) RoundTripper() http.RoundTripper { return c.http.Transport }

// dial connects to a director that is to be believed, under the address or,
// where that is somebody else's, under the second name that only root can have.
func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := dialTrusted(ctx, address)
	second := peer.Second(address)
	if err == nil || second == "" {
		return conn, err
	}
	if conn, other := dialTrusted(ctx, second); other == nil {
		return conn, nil
	}
	return nil, err
}

func dialTrusted(ctx context.Context, address string) (net.Conn, error) {
	conn, err := peer.Dial(ctx, address)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil, fmt.Errorf("%w on %s", ErrNoDirector, address)
	}
	if err != nil {
		return nil, err
	}
	who, err := peer.Of(conn)
	if err == nil && !who.Trusted() {
		err = fmt.Errorf("%s: %s listens there: %w", address, who, ErrNotTrusted)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// do sends a request with the JSON of body, if there is one, and reads the
// answer into result, if that is wanted.
func (c *Client) do(ctx context.Context, method, path string, body, result any) error {
	answer, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer drain(answer.Body)
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(result); err != nil {
		return fmt.Errorf("client: %s: read the answer: %w", path, err)
	}
	return nil
}

// drain reads what is left, so that the connection can be used again.
func drain(body io.ReadCloser) {
	io.Copy(io.Discard, io.LimitReader(body, 1<<16))
	body.Close()
}

// send sends a request and returns the answer if it is a good one.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	return c.sendWith(ctx, method, path, body, nil)
}

// sendWith is send with more headers.
func (c *Client) sendWith(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://uvs"+path, content)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	maps.Copy(request.Header, header)
	answer, err := c.http.Do(request)
	if os.IsTimeout(err) && ctx.Err() == nil {
		return nil, fmt.Errorf("the director on %s did not answer within %v: it is stopped, or hangs", c.socket, patience)
	}
	if err != nil {
		return nil, plain(err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer drain(answer.Body)
	var failure struct {
		Error *config.Problem `json:"error"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&failure); err != nil || failure.Error == nil {
		return nil, fmt.Errorf("client: %s %s: %s", method, path, answer.Status)
	}
	return nil, failure.Error
}

// plain takes the method and the made-up URL off an error of net/http.
func plain(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, ErrNoDirector) || errors.Is(err, ErrNotTrusted) {
		return err
	}
	return fmt.Errorf("client: %w", err)
}
