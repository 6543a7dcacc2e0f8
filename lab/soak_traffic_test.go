package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"uvs/lab"
)

// traffic is what the client of a soak sends.
type traffic struct {
	l          *lab.Lab
	ok, failed atomic.Uint64 // requests on connections of their own, and datagrams
	steady     atomic.Uint64 // requests on connections that last
	reason     atomic.Value  // of the last that failed

	mu     sync.Mutex
	breaks []string // of connections that were to last
}

func newTraffic(l *lab.Lab) *traffic { return &traffic{l: l} }

func (f *traffic) String() string {
	return fmt.Sprintf("%d requests answered, %d not, %d on connections that last", f.ok.Load(), f.failed.Load(), f.steady.Load())
}

// broken returns what happened to connections that were to last.
func (f *traffic) broken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.breaks
}

// send sends traffic until stop is called.
func (s *soak) send() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var senders sync.WaitGroup
	for method, vip4 := range steadyVIPs {
		for _, vip := range families(vip4) {
			senders.Go(func() { s.traffic.last(ctx, method, withPort(vip, 80)) })
		}
	}
	for i := range 6 {
		senders.Go(func() { s.traffic.mix(ctx, rand.New(rand.NewPCG(uint64(i), 7))) })
	}
	return func() {
		cancel()
		senders.Wait()
	}
}

// last makes a request several times a second on a connection that must not break.
func (f *traffic) last(ctx context.Context, method, address string) {
	for ctx.Err() == nil {
		c, err := f.dial(ctx, "tcp", address, noTimeWait())
		if err == nil {
			began := time.Now()
			n := 0
			for err == nil && ctx.Err() == nil {
				if err = request(c); err == nil {
					n++
					f.steady.Add(1)
					wait(ctx, 200*time.Millisecond)
				}
			}
			c.Close()
			if err != nil && ctx.Err() == nil {
				f.note("%s: a connection to %s broke after %v and %d requests: %v", time.Now().Format(time.TimeOnly), address+" "+method, time.Since(began).Round(time.Millisecond), n, err)
			}
		}
		wait(ctx, 100*time.Millisecond)
	}
}

func (f *traffic) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breaks = append(f.breaks, fmt.Sprintf(format, args...))
}

// request asks for a page on a connection, which stays open.
func request(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: soak\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// mix makes requests of all kinds by all methods.
func (f *traffic) mix(ctx context.Context, rng *rand.Rand) {
	var vips []string
	for _, vip := range soakVIPs {
		vips = append(vips, families(vip)...)
	}
	for ctx.Err() == nil {
		vip := vips[rng.IntN(len(vips))]
		var err error
		switch rng.IntN(7) {
		case 0:
			err = f.get(ctx, vip, rng.IntN(300), rng.IntN(2) == 0 || noTimeWait())
		case 1:
			err = f.get(ctx, vip, 100_000+rng.IntN(2_000_000), true)
		case 2:
			err = f.echo(ctx, withPort(vip, 7), rng.IntN(1400))
		case 3:
			err = f.echo(ctx, withPort(vip, 7), 2000+rng.IntN(6000)) // in fragments
		case 4:
			err = f.get(ctx, families(soakPersistent)[rng.IntN(2)], rng.IntN(300), true)
		case 5:
			err = f.get(ctx, soakMarked, rng.IntN(300), true)
		case 6:
			err = f.fetch(ctx, families(soakVIPs["-m"])[rng.IntN(2)], rng.IntN(100_000))
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.failed.Add(1)
			f.reason.Store(err.Error())
		default:
			f.ok.Add(1)
		}
		wait(ctx, time.Duration(rng.IntN(30))*time.Millisecond)
	}
}

// get fetches n bytes, on a connection that it then closes or aborts.
func (f *traffic) get(ctx context.Context, vip string, n int, abort bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return f.dial(ctx, network, address, abort)
	}}}
	r, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/bytes/%d", withPort(vip, 80), n), nil)
	if err != nil {
		return err
	}
	answer, err := c.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, err := io.Copy(io.Discard, answer.Body)
	if err == nil && got != int64(n) {
		err = fmt.Errorf("%d of %d bytes", got, n)
	}
	return err
}

// noTimeWait reports whether the soak has no time for TIME_WAIT.
func noTimeWait() bool { return *soakFor < 5*time.Minute }

// dial connects from the client. With abort, closing the connection resets it.
func (f *traffic) dial(ctx context.Context, network, address string, abort bool) (net.Conn, error) {
	c, err := f.l.Dial(ctx, "client", network, address)
	if c, ok := c.(*net.TCPConn); ok && abort {
		_ = c.SetLinger(0)
	}
	return c, err
}

// echo sends a datagram of n bytes and compares what comes back. It is repeated, as a
// client of UDP does: a neighbour's queue is short.
func (f *traffic) echo(ctx context.Context, address string, n int) error {
	c, err := f.l.Dial(ctx, "client", "udp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	sent, got := bytes.Repeat([]byte("uvs"), n/3+1), make([]byte, n+10)
	for range 3 {
		if _, err = c.Write(sent); err != nil {
			return fmt.Errorf("echo of %d bytes by %s: %w", len(sent), address, err)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		var m int
		if m, err = c.Read(got); err == nil {
			if !bytes.Equal(got[:m], sent) {
				err = fmt.Errorf("other bytes came back")
			}
			break
		}
	}
	if err != nil {
		return fmt.Errorf("echo of %d bytes by %s: %w", len(sent), address, err)
	}
	return nil
}
