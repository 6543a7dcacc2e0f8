package neigh

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

// director is a Table at work in a node, with ports as simple as can be.
type director struct {
	*Table
	tb   testing.TB
	node *nstest.Node

	mu      sync.Mutex
	ports   map[int]*packet.Conn
	counted map[frame.Verdict]int
}

func direct(tb testing.TB, n *nstest.Node, cfg Config) *director {
	tb.Helper()
	d := &director{tb: tb, node: n, ports: map[int]*packet.Conn{}, counted: map[frame.Verdict]int{}}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{tb}, nil))
	}
	cfg.Send = d.send
	cfg.Dropped = func(v frame.Verdict, frames []frame.Frame) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.counted[v] += len(frames)
	}
	n.Do(func() (err error) { d.Table, err = New(cfg); return err })
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			tb.Error(err)
		}
	})
	d.open()
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.LinkChanges():
				_ = n.Try(func() error { d.openHere(); return nil })
			}
		}
	})
	tb.Cleanup(func() {
		stop()
		running.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, p := range d.ports {
			p.Close()
		}
	})
	return d
}

func (d *director) open() {
	d.node.Do(func() error { d.openHere(); return nil })
}

func (d *director) openHere() {
	for _, l := range d.Links() {
		d.mu.Lock()
		_, ok := d.ports[l.Index]
		d.mu.Unlock()
		if ok {
			continue
		}
		c, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, MTU: l.MTU, HardwareAddr: l.MAC[:]},
			packet.Raw, unix.ETH_P_ALL, nil)
		if err != nil {
			d.tb.Error(err)
			continue
		}
		d.mu.Lock()
		d.ports[l.Index] = c
		d.mu.Unlock()
		go d.receive(l.Index, c)
	}
}

func (d *director) receive(link int, c *packet.Conn) {
	buf := make([]byte, frame.Headroom+65536)
	for {
		n, _, err := c.ReadFrom(buf[frame.Headroom:])
		if err != nil {
			return
		}
		var f frame.Frame
		f.Reset(buf, frame.Headroom, frame.Headroom+n, n)
		f.Ingress = link
		if d.Answer(&f) == frame.Answered {
			d.send(f.Egress, []frame.Frame{f})
		}
	}
}

func (d *director) send(link int, frames []frame.Frame) {
	d.mu.Lock()
	c := d.ports[link]
	d.mu.Unlock()
	if c == nil {
		return
	}
	for i := range frames {
		b := frames[i].Bytes()
		_, _ = c.WriteTo(b, &packet.Addr{HardwareAddr: net.HardwareAddr(b[:6])})
	}
}

type testWriter struct{ tb testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.tb.Logf("%s", b)
	return len(b), nil
}
