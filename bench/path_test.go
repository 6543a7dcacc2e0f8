package bench

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"uvs/bench/load"
	"uvs/conntrack"
	"uvs/forwarder"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
	"uvs/modes"
	"uvs/sched"
)

// Benchmarks of a packet's path without a kernel: what the director itself
// costs beyond its ports. Each frame is a 64-byte UDP datagram of a flow of its
// own, made by the generator of this package.

var (
	nearLink = neigh.Link{Index: 1, Name: "near", MAC: [6]byte{2, 0, 0, 0, 1, 1}, MTU: 1500, Up: true, Ethernet: true}
	farLink  = neigh.Link{Index: 2, Name: "far", MAC: [6]byte{2, 0, 0, 0, 1, 2}, MTU: insideMTU, Up: true, Ethernet: true}

	pathVIP    = netip.MustParseAddrPort("198.18.0.10:4001")
	pathServer = netip.MustParseAddrPort("198.19.0.100:4001")
	pathMAC    = [6]byte{2, 0, 0, 0, 1, 1}

	methods = []struct {
		name   load.Method
		method sched.Method
	}{{load.DR, sched.Route}, {load.NAT, sched.Masq}, {load.Tunnel, sched.Tunnel}, {load.FullNAT, sched.FullNAT}}
)

// testFrames returns the frames of n flows, one each, as a port hands them out.
func testFrames(n int) []frame.Frame {
	s := load.NewStream(load.Load{Size: 64, Flows: n}, 1, pathVIP, nearLink.MAC[:], pathMAC[:])
	all := make([]frame.Frame, n)
	for i := range all {
		b := s.Take(1, 0)[0].Bytes()
		buf := append(make([]byte, frame.Headroom), b...)
		all[i].Reset(buf, frame.Headroom, len(buf), len(b))
		all[i].Ingress = nearLink.Index
	}
	return all
}

func BenchmarkParse(b *testing.B) {
	frames := testFrames(load.Batch)
	var p frame.Parser
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if p.Parse(&frames[i%len(frames)]) != frame.Continue {
			b.Fatal("not parsed")
		}
	}
}

// testTable returns a table with a NAT connection for each frame.
func testTable(b *testing.B, frames []frame.Frame) (*conntrack.Reader, []conntrack.Conn) {
	table, err := conntrack.New(conntrack.Config{Capacity: 2 * len(frames)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { table.Close() })
	r := table.Reader()
	var p frame.Parser
	conns := make([]conntrack.Conn, len(frames))
	for i := range frames {
		p.Parse(&frames[i])
		conns[i] = conntrack.Make(&frames[i].Flow, sched.Masq, 0)
		conns[i].Real, conns[i].RealPort = pathServer.Addr().As16(), pathServer.Port()
	}
	return r, conns
}

func BenchmarkLookup(b *testing.B) {
	frames := testFrames(4096)
	r, conns := testTable(b, frames)
	for i := range conns {
		r.Insert(&conns[i], 1)
	}
	b.ReportAllocs()
	r.Enter()
	defer r.Exit()
	for i := 0; b.Loop(); i++ {
		if c, _ := r.Lookup(&frames[i%len(frames)].Flow); c == nil {
			b.Fatal("not found")
		}
	}
}

// BenchmarkInsert enters new connections into a table with room for a million.
func BenchmarkInsert(b *testing.B) {
	const room = 1 << 20
	one := testFrames(1)
	r, conns := testTable(b, one)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%room == 0 {
			b.StopTimer()
			table, err := conntrack.New(conntrack.Config{Capacity: room})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { table.Close() })
			r = table.Reader()
			b.StartTimer()
		}
		addr, port := load.Source(uint32(i % room))
		c := conns[0]
		c.Client, c.ClientPort = netip.AddrFrom4(addr).As16(), port
		r.Enter()
		if _, ok := r.Insert(&c, 1); !ok {
			b.Fatal("not inserted")
		}
		r.Exit()
	}
}

// BenchmarkRewrite is what each mode does to a request.
func BenchmarkRewrite(b *testing.B) {
	tunnel := modes.NewTunnel(modes.TunnelOptions{Src: netip.MustParseAddr("198.19.0.1"), Dst: pathServer.Addr(), PMTUDisc: true})
	for name, m := range map[load.Method]modes.Mode{load.DR: modes.DR{}, load.NAT: modes.NAT{}, load.FullNAT: &modes.FullNAT{}, load.Tunnel: tunnel} {
		b.Run(string(name), func(b *testing.B) {
			one := testFrames(1)
			var p frame.Parser
			p.Parse(&one[0])
			c := conntrack.Make(&one[0].Flow, sched.Masq, 0)
			c.Real, c.RealPort = pathServer.Addr().As16(), pathServer.Port()
			c.Local, c.LocalPort = netip.MustParseAddr("198.19.0.20").As16(), 5000
			buf, start, end := one[0].Buffer()
			fresh := append([]byte(nil), buf[:end]...)
			one[0].MTU = insideMTU
			parsed := one[0]
			f := &one[0]
			b.ReportAllocs()
			for b.Loop() {
				copy(buf[start:end], fresh[start:]) // some 3 ns of the result
				*f = parsed
				if m.Request(f, &c) != frame.Forward {
					b.Fatal("not forwarded")
				}
			}
		})
	}
}

// BenchmarkPath is the whole way of an established flow's packet through a
// director, from Recv to Send, with ports that cost nothing.
func BenchmarkPath(b *testing.B) {
	for _, m := range methods {
		for _, flows := range []int{1024, 1 << 20} {
			name := map[int]string{1024: "1k", 1 << 20: "1M"}[flows]
			b.Run(string(m.name)+"/"+name, func(b *testing.B) { benchmarkPath(b, m.method, flows) })
		}
	}
}

func benchmarkPath(b *testing.B, m sched.Method, flows int) {
	near := newLoop(flows)
	fw, err := forwarder.New(forwarder.Config{
		Driver: near, Neighbours: newStaticNet(), Workers: 1, MaxConns: flows + flows/4,
	})
	if err != nil {
		b.Fatal(err)
	}
	key := config.Key{Proto: config.UDP, Addr: pathVIP.Addr(), Port: pathVIP.Port()}
	server := config.NewServer()
	server.Addr, server.Port, server.Method = pathServer.Addr(), pathVIP.Port(), m
	if err := fw.AddService(config.Service{Key: key, Scheduler: "rr"}); err != nil {
		b.Fatal(err)
	}
	if m == sched.FullNAT {
		for i := range localAddresses {
			if err := fw.AddLocal(key, inside(0, byte(localHost+i))); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := fw.AddServer(key, server); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- fw.Run(ctx) }()
	near.run(2 * flows) // every flow has a connection now
	b.ReportAllocs()
	b.ResetTimer()
	near.run(b.N)
	b.StopTimer()
	if sent := near.sent; sent < uint64(b.N) {
		b.Errorf("%d of %d frames came out; %v", sent, b.N, fw.Counters())
	}
	stop()
	<-done
}

// loop is a Driver and the near Port: it hands out the same frames again and
// again, a batch at a time, while a benchmark wants more.
type loop struct {
	*porttest.Port
	frames  []frame.Frame
	wanted  chan int
	done    chan struct{}
	closed  chan struct{}
	left    int
	at      int
	sent    uint64 // of the far port
	started bool
	buffers [load.Batch][]byte
}

func newLoop(flows int) *loop {
	near, _ := porttest.Pipe()
	return &loop{Port: near, frames: testFrames(flows), wanted: make(chan int), done: make(chan struct{}), closed: make(chan struct{})}
}

func (l *loop) run(n int) {
	l.wanted <- n
	<-l.done
}

// Recv copies, as a director writes to its frames: some 10 ns each.
func (l *loop) Recv(fs []frame.Frame) (int, error) {
	if l.left == 0 {
		if l.started {
			l.done <- struct{}{}
		}
		l.started = true
		select {
		case l.left = <-l.wanted:
		case <-l.closed:
			return 0, net.ErrClosed
		}
		l.sent = 0
	}
	n := min(len(fs), l.left, len(l.frames)-l.at)
	for i := range n {
		src, start, end := l.frames[l.at+i].Buffer()
		if l.buffers[i] == nil {
			l.buffers[i] = make([]byte, len(src))
		}
		copy(l.buffers[i][start:end], src[start:end])
		fs[i].Reset(l.buffers[i], start, end, end-start)
		fs[i].Ingress = nearLink.Index
	}
	l.left -= n
	if l.at += n; l.at == len(l.frames) {
		l.at = 0
	}
	return n, nil
}

func (l *loop) Close() error {
	close(l.closed)
	return nil
}

func (l *loop) OwnPorts(neigh.Link) bool { return true }

func (l *loop) Open(link neigh.Link, _ int, _ []bpf.RawInstruction) ([]port.Port, error) {
	if link.Index == nearLink.Index {
		return []port.Port{l}, nil
	}
	p, _ := porttest.Pipe()
	return []port.Port{p}, nil
}

func (l *loop) Sender(neigh.Link) (port.Port, error) { return &count{n: &l.sent}, nil }

// count is the far Port.
type count struct {
	porttest.Port
	n *uint64
}

func (c *count) Send(fs []frame.Frame) (int, error) {
	*c.n += uint64(len(fs))
	return len(fs), nil
}

func (c *count) Close() error { return nil }

// newStaticNet returns a network of two links with everything behind the far one.
func newStaticNet() *neigh.Static {
	all := neigh.NewHop(farLink, [6]byte{2, 0, 0, 0, 2, 1}, netip.MustParseAddr("198.19.0.1"))
	return &neigh.Static{
		Interfaces: []neigh.Link{nearLink, farLink},
		Routes:     []neigh.StaticRoute{{To: netip.MustParsePrefix("0.0.0.0/0"), Hop: all}},
	}
}
