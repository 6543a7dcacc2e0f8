package forwarder

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/syncnet"
)

// syncSegment is a network on which directors synchronize: what one sends to a group, the
// sockets of all others receive.
type syncSegment struct {
	mu        sync.Mutex
	receivers []*syncPeer
	lose      func([]byte) bool // datagrams that nobody gets; nil: none
	seen      [][]byte
	forget    bool // it keeps nothing in seen
	stalled   bool // nothing can be sent, and a write waits
	fail      error
}

// at returns the Net of a host with an address.
func (s *syncSegment) at(addr string) syncnet.Net { return syncHost{s, netip.MustParseAddr(addr)} }

type syncHost struct {
	*syncSegment
	addr netip.Addr
}

type syncPeer struct {
	syncHost
	group netip.AddrPort
	in    chan sentDatagram // nil: it sends
	gone  chan struct{}
	until time.Time
	write time.Time // its deadline
}

type sentDatagram struct {
	b    []byte
	from netip.Addr
}

func (h syncHost) Sender(g syncnet.Group) (syncnet.Conn, error) {
	return &syncPeer{syncHost: h, group: g.Addr, gone: make(chan struct{})}, nil
}

func (h syncHost) Receiver(g syncnet.Group) (syncnet.Conn, error) {
	c := &syncPeer{syncHost: h, group: g.Addr, gone: make(chan struct{}), in: make(chan sentDatagram, 1<<16)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.receivers = append(h.receivers, c)
	return c, nil
}

func (c *syncPeer) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stalled {
		c.mu.Unlock()
		defer c.mu.Lock()
		if c.write.IsZero() {
			<-c.gone
		}
		time.Sleep(time.Until(c.write))
		return 0, os.ErrDeadlineExceeded
	}
	if c.fail != nil {
		return 0, c.fail
	}
	if !c.forget {
		c.seen = append(c.seen, slices.Clone(b))
	}
	for _, r := range c.receivers {
		if r.group == c.group && r.addr != c.addr && (c.lose == nil || !c.lose(b)) {
			r.in <- sentDatagram{slices.Clone(b), c.addr}
		}
	}
	return len(b), nil
}

func (c *syncPeer) Read(b []byte) (int, netip.Addr, error) {
	c.mu.Lock()
	until := c.until
	c.mu.Unlock()
	var timeout <-chan time.Time
	if !until.IsZero() {
		timeout = time.After(time.Until(until))
	}
	select {
	case d := <-c.in:
		return copy(b, d.b), d.from, nil
	case <-timeout:
		return 0, netip.Addr{}, os.ErrDeadlineExceeded
	case <-c.gone:
		return 0, netip.Addr{}, errors.New("closed")
	}
}

func (c *syncPeer) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return nil
}

func (c *syncPeer) SetWriteDeadline(t time.Time) error {
	c.write = t
	return nil
}

func (c *syncPeer) Stale() bool { return false }

func (c *syncPeer) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receivers = slices.DeleteFunc(c.receivers, func(r *syncPeer) bool { return r == c })
	close(c.gone)
	return nil
}

// synced is two directors with the same rules on a segment.
type synced struct {
	*syncSegment
	one, two *testbed
}

// newSynced returns a master and a backup. Call it in a bubble.
func newSynced(t *testing.T, commands string) *synced {
	t.Helper()
	p := &synced{syncSegment: &syncSegment{}}
	p.one = p.director(t, "10.99.0.1", commands, SyncConfig{})
	p.two = p.director(t, "10.99.0.2", commands, SyncConfig{})
	p.daemon(p.one, "master")
	p.daemon(p.two, "backup")
	return p
}

// director returns one more director of the segment.
func (p *synced) director(t *testing.T, addr, commands string, c SyncConfig) *testbed {
	t.Helper()
	c.Net = p.at(addr)
	b := newTestbedWith(t, commands, Config{MaxConns: 1 << 16, Sync: c})
	b.fw.MTU = func(string) (int, error) { return 1500, nil }
	ctx, cancel := context.WithCancel(t.Context())
	b.fw.sync.begin(ctx)
	t.Cleanup(func() { b.fw.sync.stop(); cancel() })
	return b
}

func (p *synced) daemon(b *testbed, state string) {
	b.t.Helper()
	b.ipvsadm("--start-daemon " + state + " --mcast-interface s --syncid 7")
	p.settle()
}

// settle lets what waits be sent and taken.
func (p *synced) settle() {
	time.Sleep(2 * syncDelay)
	synctest.Wait()
}

// conns lists connections without what differs from one moment to the next.
func conns(b *testbed) (all []string) {
	for _, c := range b.fw.Connections() {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%v %v %v %v %v %v %s %s", c.Proto, c.Client, c.Virtual, c.Server, c.Method, c.State, c.PEName, c.PEData)))
	}
	slices.Sort(all)
	return all
}

func (p *synced) expectEqual(because string) {
	one, two := conns(p.one), conns(p.two)
	if diff := cmp.Diff(one, two); diff != "" || len(one) == 0 {
		p.one.t.Errorf("%s: the lists differ (-master +backup), %d connections:\n%s", because, len(one), diff)
	}
}

const syncedRules = `-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m
-A -t 10.2.0.1:81 -s rr
-a -t 10.2.0.1:81 -r 10.1.0.1:81 -g
-A -t 10.2.0.1:82 -s rr
-a -t 10.2.0.1:82 -r 10.1.0.1:82 -i
-A -t 10.2.0.1:83 -s rr
--add-laddr -t 10.2.0.1:83 --laddr 10.1.200.1
-a -t 10.2.0.1:83 -r 10.1.0.1:83 --fullnat
-A -t [fd00:2::1]:80 -s rr
-a -t [fd00:2::1]:80 -r [fd00:1::1]:80 -m
`

// After a take-over the backup does with the packets of a connection what the master did.
func TestTrafficGoesOnAtTheBackup(t *testing.T) {
	for _, c := range []struct{ name, client, virtual string }{
		{"NAT", "172.16.0.9:1000", "10.2.0.1:80"},
		{"DR", "172.16.0.9:1000", "10.2.0.1:81"},
		{"TUN", "172.16.0.9:1000", "10.2.0.1:82"},
		{"FULLNAT", "172.16.0.9:1000", "10.2.0.1:83"},
		{"IPv6", "[fd00:c::9]:1000", "[fd00:2::1]:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSynced(t, syncedRules)
				p.one.open(c.client, c.virtual)
				p.one.send(1, at(t, 1, c.client, c.virtual, ack, 1000, 5001, "hello"))
				p.settle()
				p.expectEqual("established")
				more := func(b *testbed) []string {
					return b.words(b.send(1, at(t, 1, c.client, c.virtual, ack, 1005, 5001, "more")))
				}
				p.one.id, p.two.id = 0, 0
				want, got := more(p.one), more(p.two)
				if diff := cmp.Diff(want, got); diff != "" || len(got) != 1 {
					t.Errorf("the backup sends other frames (-master +backup):\n%s", diff)
				}
			})
		})
	}
}
