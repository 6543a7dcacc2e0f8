package metrics

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/net/bpf"

	"uvs/forwarder"
	"uvs/forwarder/config"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
	"uvs/forwarder/state"
	"uvs/internal/events"
	"uvs/sched"
)

// bed is a director in memory between clients (link 1) and servers (link 2).
type bed struct {
	t    testing.TB
	fw   *forwarder.Forwarder
	kept *state.State // nil: none
	net  *network
	wire *wire
	m    *Metrics
	ring *events.Ring
	end  func()
}

// network is a Static of which links come and go.
type network struct {
	*neigh.Static
	mu      sync.Mutex
	links   []neigh.Link
	changes chan struct{}
}

func (n *network) Links() []neigh.Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.links)
}

func (n *network) LinkChanges() <-chan struct{} { return n.changes }

// set changes the links and waits until the director has looked at them.
func (n *network) set(links ...neigh.Link) {
	n.mu.Lock()
	n.links = links
	n.mu.Unlock()
	n.changes <- struct{}{}
	n.changes <- struct{}{} // taken when the first is done with
}

// wire is a driver whose ports are in memory, each with counters of its own.
type wire struct {
	mu  sync.Mutex
	far map[int]*porttest.Port
}

func (w *wire) OwnPorts(neigh.Link) bool { return true }

func (w *wire) Open(l neigh.Link, _ int, _ []bpf.RawInstruction) ([]port.Port, error) {
	near, far := porttest.Pipe()
	near.Index = l.Index
	w.mu.Lock()
	w.far[l.Index] = far
	w.mu.Unlock()
	return []port.Port{counted{near}}, nil
}

func (w *wire) Sender(neigh.Link) (port.Port, error) { near, _ := porttest.Pipe(); return near, nil }

func (w *wire) at(link int) *porttest.Port {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.far[link]
}

// counted is a port that for each frame that it takes counts one of all that ports count.
type counted struct{ *porttest.Port }

func (c counted) Counters() map[string]uint64 {
	s := c.Stats()
	return map[string]uint64{"received": s.Received, "sent": s.Sent, "ring-drops": s.Received, "refused": s.Received,
		"refused-too-big": s.Received, "refused-no-buffer": s.Received, "refused-link-down": s.Received,
		"oversize": s.Received, "cut": s.Received, "skipped": s.Received}
}

var (
	clients  = neigh.Link{Index: 1, Name: "clients", MTU: 1500, Up: true, Ethernet: true, MAC: [6]byte{2, 0, 0, 0, 0, 1}}
	servers  = neigh.Link{Index: 2, Name: "servers", MTU: 1500, Up: true, Ethernet: true, MAC: [6]byte{2, 0, 0, 0, 0, 2}}
	someHost = [6]byte{2, 0, 0, 0, 0, 9}
)

// start returns a bed whose director keeps its state in a directory; with "" it has none.
func start(t testing.TB, dir string) *bed {
	t.Helper()
	b := &bed{t: t, wire: &wire{far: map[int]*porttest.Port{}}, m: New(), ring: events.New()}
	b.net = &network{links: []neigh.Link{clients, servers}, changes: make(chan struct{}), Static: &neigh.Static{
		Interfaces: []neigh.Link{clients, servers},
		Routes: []neigh.StaticRoute{
			{To: netip.MustParsePrefix("10.1.0.0/16"), Hop: neigh.NewHop(servers, someHost, netip.MustParseAddr("10.1.255.254"))},
			{To: netip.MustParsePrefix("172.16.0.0/12"), Hop: neigh.NewHop(clients, someHost, netip.MustParseAddr("172.16.0.254"))},
		}}}
	c := forwarder.Config{Driver: b.wire, Neighbours: b.net, MaxConns: 1 << 12, Sampled: b.m.Forwarded}
	var err error
	if dir != "" {
		if c.State, err = state.Open(state.Options{Dir: dir, Log: quiet}); err != nil {
			t.Fatal(err)
		}
	}
	b.kept = c.State
	if b.fw, err = forwarder.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan bool)
	go func() { _ = b.fw.Run(ctx); close(done) }()
	b.end = sync.OnceFunc(func() {
		b.m.Of(nil)
		cancel()
		<-done
		if err := c.State.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.end)
	<-b.fw.Ready()
	b.m.Of(&Source{Forwarder: b.fw, Events: b.ring, Version: "test"})
	return b
}

var web = config.Key{Proto: config.UDP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80, Family: config.IPv4}

// serve adds the service with n servers by NAT, and a service by mark.
func (b *bed) serve(n int) {
	b.t.Helper()
	commands := []config.Command{{Op: config.OpAddService, Service: &config.Service{Key: web, Scheduler: "rr"}},
		{Op: config.OpAddService, Service: &config.Service{Key: config.Key{Mark: 7, Family: config.IPv6}, Scheduler: "wlc"}}}
	for i := range n {
		s := config.NewServer()
		s.Addr, s.Port, s.Method = netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(1 + i%250)}), 8080, sched.Masq
		commands = append(commands, config.Command{Op: config.OpAddServer, Service: &config.Service{Key: web}, Server: &s})
	}
	for _, err := range b.fw.Apply(commands, true) {
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// ask sends datagrams of n clients to an address from link 1, and waits for their outcome.
func (b *bed) ask(to string, n int) {
	b.t.Helper()
	before := b.received()
	dst := netip.MustParseAddrPort(to)
	for i := range n {
		udp := &layers.UDP{SrcPort: layers.UDPPort(5000 + i), DstPort: layers.UDPPort(dst.Port())}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{172, 16, 0, 9}, DstIP: dst.Addr().AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(ip)
		b.wire.at(1).Inject(frametest.Build(b.t,
			&layers.Ethernet{SrcMAC: someHost[:], DstMAC: clients.MAC[:], EthernetType: layers.EthernetTypeIPv4},
			ip, udp, gopacket.Payload(strings.Repeat("x", 20))))
	}
	for b.received() < before+uint64(n) {
		runtime.Gosched()
	}
}

// received returns how many frames have ended or wait.
func (b *bed) received() (n uint64) {
	for _, p := range b.fw.Ports() {
		n += p.Received
	}
	return n
}

// scraped are values by their series, as in the text format.
type scraped map[string]float64

// text asks for the metrics as Prometheus does.
func (b *bed) text() []byte {
	b.t.Helper()
	answer := httptest.NewRecorder()
	NewServer(b.m, nil, func(f func()) bool { f(); return true }, quiet).http.Handler.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != http.StatusOK {
		b.t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.Bytes()
}

func (b *bed) scrape() scraped {
	b.t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(b.text()))
	if err != nil {
		b.t.Fatal(err)
	}
	all := scraped{}
	for name, family := range families {
		for _, m := range family.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			var text []string
			for _, k := range slices.Sorted(maps.Keys(labels)) {
				text = append(text, fmt.Sprintf("%s=%q", k, labels[k]))
			}
			series := name + "{" + strings.Join(text, ",") + "}"
			switch {
			case m.Counter != nil:
				all[series] = m.Counter.GetValue()
			case m.Gauge != nil:
				all[series] = m.Gauge.GetValue()
			case m.Histogram != nil:
				all[series] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return all
}

// sum adds up the series of a name that contain some texts.
func (s scraped) sum(name string, parts ...string) (sum float64) {
	for series, v := range s {
		if strings.HasPrefix(series, name+"{") && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(series, p) }) {
			sum += v
		}
	}
	return sum
}
