package neigh

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// fakeKernel is a kernel made of values.
type fakeKernel struct {
	mu     sync.Mutex
	state  state
	list   []kernelEntry
	asked  map[netip.Addr]route
	events chan event
	groups map[key]bool
	told   map[key][6]byte

	verdict error // of admits
}

func (k *fakeKernel) setEntry(n key, mac [6]byte, on bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told == nil {
		k.told = map[key][6]byte{}
	}
	if delete(k.told, n); on {
		k.told[n] = mac
	}
	return nil
}

func (k *fakeKernel) load() (*state, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.state
	s.links, s.addrs, s.routes = slices.Clone(s.links), slices.Clone(s.addrs), slices.Clone(s.routes)
	return &s, nil
}

func (k *fakeKernel) reroute(s *state) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s.routes, s.rules = slices.Clone(k.state.routes), slices.Clone(k.state.rules)
	return nil
}

func (k *fakeKernel) inputs() (map[int]inputs, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.state.inputs), nil
}

func (k *fakeKernel) admits(_, _ netip.Addr, _ int) error { return k.verdict }

func (k *fakeKernel) entries() ([]kernelEntry, error) { return k.list, nil }

func (k *fakeKernel) route(dst netip.Addr) (route, error) {
	r, ok := k.asked[dst]
	if !ok {
		return r, unix.ENETUNREACH
	}
	return r, nil
}

func (k *fakeKernel) follow(context.Context) <-chan event { return k.events }
func (k *fakeKernel) close() error                        { return nil }

func (k *fakeKernel) listen(link int, group netip.Addr, on bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.groups == nil {
		k.groups = map[key]bool{}
	}
	k.groups[key{link, group}] = on
	return nil
}

// change alters the state as f says and reports it.
func (k *fakeKernel) change(f func(s *state)) {
	k.mu.Lock()
	f(&k.state)
	k.mu.Unlock()
	k.events <- event{reload: true}
}

// changeRoutes alters routes or rules as f says and reports it.
func (k *fakeKernel) changeRoutes(f func(s *state)) {
	k.mu.Lock()
	f(&k.state)
	k.mu.Unlock()
	k.events <- event{reroute: true}
}

var (
	macEth0 = [6]byte{2, 0, 0, 0, 0, 1}
	macEth1 = [6]byte{2, 0, 0, 0, 0, 2}
	macPeer = [6]byte{2, 0, 0, 0, 0, 9}
	macNew  = [6]byte{2, 0, 0, 0, 0, 10}
)

const (
	lo   = 1
	eth0 = 2
	eth1 = 3
	tun0 = 4
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func net4(link int, s string) (address, []route) {
	p := netip.MustParsePrefix(s)
	return address{link: link, prefix: p}, []route{
		{table: unix.RT_TABLE_LOCAL, dst: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), kind: unix.RTN_LOCAL,
			source: p.Addr(), hops: []nexthop{{link: link, weight: 1}}},
		{table: unix.RT_TABLE_MAIN, dst: p.Masked(), kind: unix.RTN_UNICAST, source: p.Addr(),
			hops: []nexthop{{link: link, weight: 1}}},
	}
}

func via(dst string, link int, gw string) route {
	r := route{table: unix.RT_TABLE_MAIN, dst: netip.MustParsePrefix(dst), kind: unix.RTN_UNICAST,
		hops: []nexthop{{link: link, weight: 1}}}
	if gw != "" {
		r.hops[0].gateway = ip(gw)
	}
	return r
}

func defaultRules() (rules []rule) {
	for _, six := range []bool{false, true} {
		for p, table := range map[uint32]uint32{0: unix.RT_TABLE_LOCAL, 32766: unix.RT_TABLE_MAIN, 32767: unix.RT_TABLE_DEFAULT} {
			rules = append(rules, rule{is6: six, priority: p, action: unix.FR_ACT_TO_TBL, table: table, suppress: -1})
		}
	}
	slices.SortFunc(rules, func(a, b rule) int { return int(a.priority) - int(b.priority) })
	return rules
}

// twoLinks is a host with 10.0.0.2/24 and fd00::2/64 on eth0, 10.1.0.2/24 and
// fd00:1::2/64 on eth1, and a default route by 10.0.0.1.
func twoLinks() *fakeKernel {
	k := &fakeKernel{state: state{
		links: []Link{
			{Index: lo, Name: "lo", MTU: 65536, Up: true, Running: true, Loopback: true},
			{Index: eth0, Name: "eth0", MTU: 1500, Up: true, Running: true, Ethernet: true, MAC: macEth0},
			{Index: eth1, Name: "eth1", MTU: 9000, Up: true, Running: true, Ethernet: true, MAC: macEth1},
			{Index: tun0, Name: "tun0", MTU: 1400, Up: true, Running: true, NoARP: true},
		},
		rules: defaultRules(),
	}}
	for _, a := range []struct {
		link int
		net  string
	}{{eth0, "10.0.0.2/24"}, {eth1, "10.1.0.2/24"}, {eth0, "fd00::2/64"}, {eth1, "fd00:1::2/64"}, {eth0, "fe80::2/64"}} {
		addr, routes := net4(a.link, a.net)
		k.state.addrs = append(k.state.addrs, addr)
		k.state.routes = append(k.state.routes, routes...)
	}
	k.state.routes = append(k.state.routes, via("0.0.0.0/0", eth0, "10.0.0.1"), via("::/0", eth0, "fe80::1"))
	return k
}

// bench is a Table over a fakeKernel, running in the test's bubble.
type bench struct {
	*Table
	tb     testing.TB
	kernel *fakeKernel

	mu    sync.Mutex
	sent  []sent
	count map[frame.Verdict]int
}

// sent is a frame that left, and when.
type sent struct {
	at   time.Duration // since the start
	link int
	data []byte
}

func still(tb testing.TB, k *fakeKernel, cfg Config) *bench {
	tb.Helper()
	b := &bench{tb: tb, kernel: k, count: map[frame.Verdict]int{}}
	k.events = make(chan event)
	began := time.Now()
	cfg.Send = func(link int, frames []frame.Frame) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for i := range frames {
			b.sent = append(b.sent, sent{time.Since(began), frames[i].Egress, frames[i].Bytes()})
			if frames[i].Egress != link {
				tb.Errorf("frame for link %d among those for link %d", frames[i].Egress, link)
			}
		}
	}
	cfg.Dropped = func(v frame.Verdict, frames []frame.Frame) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.count[v] += len(frames)
	}
	t, err := newTable(cfg, k)
	if err != nil {
		tb.Fatal(err)
	}
	b.Table = t
	return b
}

// run runs test with a Table that is running, in a bubble of its own time.
func run(t *testing.T, cfg Config, k *fakeKernel, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := still(t, k, cfg)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		synctest.Wait()
		test(b)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// wait lets d pass and everything settle.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// take returns what was sent since the last take.
func (b *bench) take() []sent {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sent
	b.sent = nil
	return s
}

func (b *bench) counted(v frame.Verdict) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count[v]
}

// lookup demands a Hop.
func (b *bench) lookup(addr string) *Hop {
	b.tb.Helper()
	h, v := b.Lookup(ip(addr))
	if v != frame.Continue {
		b.tb.Fatalf("the way to %s: %v", addr, v)
	}
	return h
}

// arrive passes a frame that came in on a link to Answer.
func (b *bench) arrive(link int, f frame.Frame) frame.Verdict {
	f.Ingress, f.Egress = link, 0
	v := b.Answer(&f)
	synctest.Wait()
	return v
}

// isARP answers with the ARP message of a frame as gopacket reads it.
func isARP(tb testing.TB, b []byte) (*layers.Ethernet, *layers.ARP) {
	tb.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	arp, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if p.ErrorLayer() != nil || eth == nil || arp == nil {
		tb.Fatalf("not an ARP message: %v", p)
	}
	return eth, arp
}

// datagram is a frame with an IPv4 packet of n bytes, of which the first tells
// it from others.
func datagram(n int, mark byte) *frame.Frame {
	f := newFrame(frame.EthernetLen + n)
	b := f.Bytes()
	b[12], b[13] = 8, 0
	b[frame.EthernetLen] = mark
	return &f
}
