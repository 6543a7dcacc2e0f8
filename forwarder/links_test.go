package forwarder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
)

// scarce is a Driver whose first attempts to open a port fail for lack of descriptors. Each
// of its ports has received seven frames.
type scarce struct {
	memory
	mu    sync.Mutex
	short int
	tries int
}

func (d *scarce) Open(l neigh.Link, _ int, _ []bpf.RawInstruction) ([]port.Port, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tries++; d.tries <= d.short {
		return nil, fmt.Errorf("socket: %w", unix.EMFILE)
	}
	p, _ := porttest.Pipe()
	p.Index = l.Index
	return []port.Port{seven{p}}, nil
}

type seven struct{ *porttest.Port }

func (seven) Counters() map[string]uint64 { return map[string]uint64{"received": 7} }

// runScarce runs a director on two links and returns it with a function that ends it.
func runScarce(t *testing.T, d *scarce, net *network, log *bytes.Buffer) (*Forwarder, func()) {
	fw, err := New(Config{Driver: d, Neighbours: net, MaxConns: 1 << 10, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = fw.followLinks(ctx) })
	return fw, func() {
		cancel()
		wg.Wait()
		fw.conns.Close()
	}
}

func TestPortsThatAShortageKeptClosedAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		var log bytes.Buffer
		fw, end := runScarce(t, &scarce{short: 7}, net, &log)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := fw.Counters()["port-received"]; n != 14 {
			t.Errorf("%d frames counted, want those of two ports", n)
		}
		end()
		for _, line := range []string{"trying again", "all ports are open"} {
			if n := strings.Count(log.String(), line); n != 1 {
				t.Errorf("%q is logged %d times, want once:\n%s", line, n, log.String())
			}
		}
	})
}

// A director that is to replace another must not begin deaf.
func TestADirectorThatNeedsPortsEndsWithoutThem(t *testing.T) {
	d := &scarce{short: 1}
	fw, err := New(Config{Driver: d, Neighbours: newNetwork(), MaxConns: 1 << 10, NeedPorts: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := fw.Run(t.Context()); !errors.Is(err, unix.EMFILE) {
		t.Errorf("it ends with %v", err)
	}
	select {
	case <-fw.Ready():
		t.Error("it said that it is ready")
	default:
	}
}

func TestCountersOfAPortThatClosesStayCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		fw, end := runScarce(t, &scarce{}, net, &bytes.Buffer{})
		defer end()
		synctest.Wait()
		net.Interfaces = net.Interfaces[:1]
		net.changes <- struct{}{}
		synctest.Wait()
		if n := fw.Counters()["port-received"]; n != 14 {
			t.Errorf("%d frames counted, want 14 still", n)
		}
	})
}
