package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"uvs/internal/web"
)

const (
	// askEvery is how often each long connection asks for a page.
	askEvery = 250 * time.Millisecond
	// answerWithin is how long an answer may take before the connection counts as broken:
	// longer than TCP waits before it repeats a segment for the fifth time.
	answerWithin = 20 * time.Second
	// downloadPiece is what the download takes at a time, downloadPause how long it then waits
	// until nothing more happens: so it lasts as long as the drill, and leaves the machine time.
	downloadPiece = 32 << 10
	downloadPause = 20 * time.Millisecond
)

// traffic is what a client does while directors take each other's place: long connections that
// ask again and again, and one large download. Every byte that comes is compared.
type traffic struct {
	lab     *Lab
	size    int64 // of the download
	began   time.Time
	stop    context.CancelFunc
	running sync.WaitGroup

	last     atomic.Int64 // when a connection was answered last, since began
	silence  atomic.Int64 // the longest time in which none was, since the last take
	answers  []atomic.Uint64
	received atomic.Int64
	hurry    atomic.Bool // the download need not wait any more

	mu     sync.Mutex
	broken map[string]error // connections, by what they are
}

// startTraffic opens n connections, and begins the download when all have been answered.
func startTraffic(l *Lab, n int, size int64) (*traffic, error) {
	ctx, stop := context.WithCancel(context.Background())
	t := &traffic{lab: l, size: size, began: time.Now(), stop: stop, answers: make([]atomic.Uint64, n), broken: map[string]error{}}
	for i := range n {
		c, err := t.dial(ctx)
		if err != nil {
			stop()
			return nil, err
		}
		name := fmt.Sprintf("connection %d", i+1)
		t.running.Go(func() { t.lose(ctx, name, t.talk(ctx, c, &t.answers[i])) })
	}
	c, err := t.dial(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	t.running.Go(func() { t.lose(ctx, "the download", t.download(ctx, c)) })
	return t, t.await(1)
}

func (t *traffic) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return t.lab.Dial(ctx, "client", "tcp", netip.AddrPortFrom(t.lab.Topology.VIP, 80).String())
}

// lose takes note of a connection that broke.
func (t *traffic) lose(ctx context.Context, name string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken[name] = err
}

// came takes note of an answer. The download does not count: by direct routing and in tunnels
// it goes on for a while without a director.
func (t *traffic) came() {
	now := int64(time.Since(t.began))
	gap := now - t.last.Swap(now)
	for {
		most := t.silence.Load()
		if gap <= most || t.silence.CompareAndSwap(most, gap) {
			return
		}
	}
}

// takeSilence returns the longest time without an answer since it was called last.
func (t *traffic) takeSilence() time.Duration { return time.Duration(t.silence.Swap(0)) }

// talk asks for a page again and again.
func (t *traffic) talk(ctx context.Context, c net.Conn, answers *atomic.Uint64) error {
	defer c.Close()
	in := bufio.NewReader(c)
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	server := ""
	for ctx.Err() == nil {
		_ = c.SetDeadline(time.Now().Add(answerWithin))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: vip\r\n\r\n"); err != nil {
			return err
		}
		page, err := readPage(in)
		if err != nil {
			return err
		}
		if server != "" && page != server {
			return fmt.Errorf("it was with %q and is with %q", server, page)
		}
		server = page
		answers.Add(1)
		t.came()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

func readPage(in *bufio.Reader) (string, error) {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return string(bytes.TrimSpace(page)), err
}

// download fetches a stream and compares it with what it must be.
func (t *traffic) download(ctx context.Context, c net.Conn) error {
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET /bytes/%d HTTP/1.1\r\nHost: vip\r\n\r\n", t.size); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	want := web.Stream(t.size)
	got, must := make([]byte, downloadPiece), make([]byte, downloadPiece)
	for t.received.Load() < t.size && ctx.Err() == nil {
		_ = c.SetDeadline(time.Now().Add(answerWithin))
		n, err := io.ReadFull(resp.Body, got)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("after %d bytes: %w", t.received.Load(), err)
		}
		_, _ = io.ReadFull(want, must[:n])
		if !bytes.Equal(got[:n], must[:n]) {
			return fmt.Errorf("other bytes came than were sent, after %d", t.received.Load())
		}
		t.received.Add(int64(n))
		if !t.hurry.Load() {
			time.Sleep(downloadPause)
		}
	}
	return nil
}

// await returns when each connection has had n more answers and the download has gone on, or
// with an error about the first that broke.
func (t *traffic) await(n uint64) error {
	goals := make([]uint64, len(t.answers))
	for i := range goals {
		goals[i] = t.answers[i].Load() + n
	}
	received := t.received.Load()
	behind := func() bool {
		for i, goal := range goals {
			if t.answers[i].Load() < goal {
				return true
			}
		}
		return t.received.Load() == received && received < t.size
	}
	for behind() {
		if err := t.failed(); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond) // each connection has a deadline of its own
	}
	return t.failed()
}

// failed returns what the first connections were that broke, and how many there are.
func (t *traffic) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, err := range t.broken {
		return fmt.Errorf("lab: %d of %d connections are broken, such as %s: %w", len(t.broken), len(t.answers)+1, name, err)
	}
	return nil
}

// alive returns how many of the long connections are not broken.
func (t *traffic) alive() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.answers)
	for name := range t.broken {
		if name != "the download" {
			n--
		}
	}
	return n
}

// finish lets the download end, and then the rest.
func (t *traffic) finish() error {
	t.hurry.Store(true)
	for t.received.Load() < t.size && t.failed() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	t.end()
	return t.failed()
}

// end stops everything.
func (t *traffic) end() {
	t.stop()
	t.running.Wait()
}
