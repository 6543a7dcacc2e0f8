package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
	"uvs/sched"
)

// dial opens a connection.
type dial func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)

// direct returns what opens ordinary connections of the host, from an address that is its
// own and not a virtual one.
func direct(d Director) dial {
	return func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		source := d.ProbeSource(to.Addr(), to.Addr(), sched.Route)
		dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			if source.IsValid() {
				controlErr := c.Control(func(fd uintptr) { _, err = bind(int(fd), source) })
				err = errors.Join(err, controlErr)
			}
			return err
		}}
		c, err := dialer.DialContext(ctx, network, to.String())
		if err == nil {
			reset(c)
		}
		return c, err
	}
}

// probeConn is a connection whose end the director is told of.
type probeConn struct {
	net.Conn
	end func()
}

// Close ends the connection.
func (c *probeConn) Close() error {
	defer c.end() // once: another probe may have the port after that
	return c.Conn.Close()
}

// via returns what opens connections that go to the probe's server: the local port is
// taken before the connection begins, so that the director knows the flow.
func (p *Probe) via(d Director) dial {
	return func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		source := p.Check.Source
		if !source.IsValid() {
			source = d.ProbeSource(p.Server.Addr, to.Addr(), p.Server.Method)
		}
		if !source.IsValid() {
			return nil, errNoSource
		}
		end := func() {}
		dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			controlErr := c.Control(func(fd uintptr) {
				var from netip.AddrPort
				if from, err = bind(int(fd), source); err == nil {
					var undo func()
					if undo, err = d.OpenProbe(p.Key, p.Server.AddrPort(), p.Check.Proto(), from, to); err == nil {
						end()
						end = sync.OnceFunc(undo)
					}
				}
			})
			return errors.Join(controlErr, err)
		}}
		c, err := dialer.DialContext(ctx, network, to.String())
		if err != nil {
			end()
			return nil, err
		}
		reset(c)
		return &probeConn{c, end}, nil
	}
}

var errNoSource = errors.New("the host has no address that could ask")

// bind gives a socket an address and a free port.
func bind(fd int, source netip.Addr) (netip.AddrPort, error) {
	var at unix.Sockaddr = &unix.SockaddrInet6{Addr: source.As16()}
	if source.Is4() {
		at = &unix.SockaddrInet4{Addr: source.As4()}
	}
	if err := unix.Bind(fd, at); err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask from %s: %w", source, err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask from %s: %w", source, err)
	}
	switch a := at.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(source, uint16(a.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(source, uint16(a.Port)), nil
	}
	return netip.AddrPort{}, errNoSource
}

// ask asks once on one path.
func (p *Probe) ask(ctx context.Context, to netip.AddrPort, open dial) config.ProbeResult {
	began := time.Now()
	answer, err := p.question()(ctx, to, open)
	r := config.ProbeResult{OK: err == nil, Answer: answer, Micros: uint32(time.Since(began).Microseconds())}
	if err != nil {
		r.Answer = failure(err)
	}
	return r
}

func (p *Probe) question() func(context.Context, netip.AddrPort, dial) (string, error) {
	switch p.Check.Kind {
	case config.CheckHTTP, config.CheckHTTPS:
		return p.page
	case config.CheckUDP:
		return p.datagram
	}
	return p.connect
}

// connect opens a TCP connection and, if the check says so, talks.
func (p *Probe) connect(ctx context.Context, to netip.AddrPort, open dial) (string, error) {
	c, err := opened(ctx, "tcp", to, open)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if p.Check.Send == "" && p.Check.Expect == "" {
		return "connects", nil
	}
	return p.talk(c, len(p.Check.Expect))
}

// opened opens a connection with the context's deadline, on which nobody waits any more
// when the context ends.
func opened(ctx context.Context, network string, to netip.AddrPort, open dial) (net.Conn, error) {
	c, err := open(ctx, network, to)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	return c, nil
}

// reset has a TCP connection end with a reset, so that a probe leaves nothing on either
// side.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}

// datagram sends a datagram and waits for an answer: only that shows that it arrived.
func (p *Probe) datagram(ctx context.Context, to netip.AddrPort, open dial) (string, error) {
	c, err := opened(ctx, "udp", to, open)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return p.talk(c, 1)
}

// talk sends what the check says and reads an answer of at least so many bytes.
func (p *Probe) talk(c net.Conn, least int) (string, error) {
	text := p.Check.Send
	if text == "" && p.Check.Kind == config.CheckUDP {
		text = "\n"
	}
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	buf := make([]byte, 2048)
	n, err := io.ReadAtLeast(c, buf, least)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(string(buf[:n]), p.Check.Expect) {
		return "", fmt.Errorf("the answer begins with %q", buf[:min(n, 40)])
	}
	return "answers", nil
}

// headLimit bounds the head of a page, in bytes, and bodyLimit how much is read of the rest.
const (
	headLimit = 64 << 10
	bodyLimit = 1 << 20
)

// page gets a page by HTTP or HTTPS; redirections are not followed. The connection is
// opened here and closed before it returns: a Transport that dials goes on with that when
// the context has ended.
func (p *Probe) page(ctx context.Context, to netip.AddrPort, open dial) (string, error) {
	c, err := opened(ctx, "tcp", to, open)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if p.Check.Kind == config.CheckHTTPS {
		if c, err = p.secured(ctx, c); err != nil {
			return "", err
		}
	}
	ready := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	transport := &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: headLimit,
		DialContext: ready, DialTLSContext: ready,
	}
	url := string(p.Check.Kind) + "://" + p.Check.Target(p.Key).String() + p.Check.Path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	request.Host = p.Check.Host
	request.Header.Set("User-Agent", "uvs-check")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, bodyLimit)); err != nil {
		return "", err
	}
	return p.status(response.StatusCode)
}

// secured shakes hands by TLS. Certificates are not verified, as they are often for names
// that only clients use.
func (p *Probe) secured(ctx context.Context, c net.Conn) (net.Conn, error) {
	name := p.Check.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	return t, t.HandshakeContext(ctx)
}

// status judges a status code.
func (p *Probe) status(code int) (string, error) {
	good, err := config.ParseStatus(p.Check.Status)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("status %d", code)
	for _, r := range good {
		if code >= r.First && code <= r.Last {
			return text, nil
		}
	}
	return "", errors.New(text)
}

// failure says in words why a probe failed.
func failure(err error) string {
	var dns *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return noAnswer
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without an answer"
	case errors.Is(err, unix.EHOSTUNREACH):
		return "host unreachable"
	case errors.Is(err, unix.ENETUNREACH):
		return "the host has no route there"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.As(err, &dns):
		return shown(dns.Err.Error())
	}
	return shown(err.Error())
}

// longestFailure bounds the text of a failure, in bytes: a server may have written it.
const longestFailure = 200

// shown returns what is kept of a text that may be a server's: one short line that a
// terminal shows as it is.
func shown(text string) string {
	kept := strings.ToValidUTF8(text[:min(len(text), longestFailure)], "")
	kept = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '.'
	}, kept)
	if len(text) > longestFailure {
		kept += "…"
	}
	return kept
}

// noAnswer is the failure of a probe that nobody answered in time.
const noAnswer = "no answer"
