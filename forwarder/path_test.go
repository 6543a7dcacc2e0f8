package forwarder

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/syncnet"
	"uvs/sched"
)

// void is a Driver whose ports discard what is sent and receive nothing.
type void struct{ sent int }

func (v *void) OwnPorts(neigh.Link) bool { return true }

func (v *void) Open(neigh.Link, int, []bpf.RawInstruction) ([]port.Port, error) {
	return []port.Port{v}, nil
}
func (v *void) Sender(neigh.Link) (port.Port, error) { return v, nil }
func (v *void) Recv([]frame.Frame) (int, error)      { return 0, net.ErrClosed }
func (v *void) Close() error                         { return nil }
func (v *void) Send(fs []frame.Frame) (int, error) {
	v.sent += len(fs)
	return len(fs), nil
}

// course is a worker for benchmarks: 64-byte datagrams of many clients to one
// virtual service, written into 64 buffers as a ring has them.
type course struct {
	fw   *Forwarder
	w    *worker
	out  *void
	bufs [batchSize][256]byte
	tmpl []byte
	leap uint32 // from one client to the next: 1, or an odd number for clients all over the table
}

// courseSlot is where a frame begins in its buffer.
const courseSlot = 128

func newCourse(b testing.TB, servers int, m sched.Method, scheduler string, conns int) *course {
	return newCourseWith(b, servers, m, scheduler, Config{MaxConns: conns})
}

// newCourseWith is newCourse for a Config without driver and neighbours.
func newCourseWith(b testing.TB, servers int, m sched.Method, scheduler string, conf Config) *course {
	c := &course{out: &void{}, leap: 1}
	network := newNetwork()
	conf.Driver, conf.Neighbours = c.out, network
	fw, err := New(conf)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { fw.conns.Provide(ctx) })
	b.Cleanup(func() { cancel(); wg.Wait(); fw.conns.Close() })
	key := config.Key{Proto: config.UDP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 53}
	if err := fw.AddService(config.Service{Key: key, Scheduler: scheduler}); err != nil {
		b.Fatal(err)
	}
	for i := range servers {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		if err := fw.AddServer(key, config.Server{Addr: a, Port: 53, Weight: 1, Method: m}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 100 {
		if m == sched.FullNAT {
			if err := fw.AddLocal(key, netip.AddrFrom4([4]byte{10, 1, 200, byte(i)})); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := fw.RebuildPlan(); err != nil {
		b.Fatal(err)
	}
	fw.links.Store(fw.linksOf(network.Interfaces))
	c.fw, c.w = fw, fw.newWorker(clientLink, 0, c.out)
	c.tmpl = dgram(b, 1, "172.16.0.1:1000", "10.2.0.1:53", strings.Repeat("x", 18))
	return c
}

// load fills the frames of a batch: packets of clients first, first+1, ...
func (c *course) load(first, clients int) []frame.Frame {
	fs := c.w.in[:]
	for i := range fs {
		p := c.bufs[i][courseSlot:]
		copy(p, c.tmpl)
		n := uint32(first+i) * c.leap % uint32(clients)
		binary.BigEndian.PutUint32(p[26:], 172<<24|16<<16|n&0xfffff)
		binary.BigEndian.PutUint16(p[34:], uint16(1000+n>>20))
		binary.BigEndian.PutUint16(p[24:], 0)
		binary.BigEndian.PutUint16(p[24:], frame.Checksum(p[14:34]))
		fs[i].Reset(c.bufs[i][:], courseSlot, courseSlot+len(c.tmpl), len(c.tmpl))
		fs[i].Ingress = clientLink.Index
	}
	return fs
}

// measured reports processor time: on a busy machine elapsed time says little.
func measured(b *testing.B, run func()) {
	b.ReportAllocs()
	b.ResetTimer()
	began := processTime(b)
	run()
	used := processTime(b) - began
	b.StopTimer()
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

func processTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Skip("no clock of the process's processor time")
	}
	return time.Duration(ts.Nano())
}

// BenchmarkPath measures everything between Recv and Send for one packet of an established
// UDP flow, flows in turn.
func BenchmarkPath(b *testing.B) {
	for _, m := range []sched.Method{sched.Route, sched.Masq, sched.Tunnel, sched.FullNAT} {
		for _, flows := range []int{1, 1000, 1 << 20} {
			b.Run(fmt.Sprintf("%v/flows=%d", m, flows), func(b *testing.B) {
				c := newCourse(b, 4, m, "rr", flows+4096)
				for i := 0; i < flows; i += batchSize {
					c.w.batch(c.load(i, flows))
				}
				measured(b, func() {
					for i := 0; i < b.N; i += batchSize {
						c.w.batch(c.load(i, flows))
					}
				})
				if n := c.fw.conns.Len(); n != flows {
					b.Fatalf("%d connections", n)
				}
				if c.out.sent < b.N {
					b.Fatalf("%d of %d packets sent", c.out.sent, b.N)
				}
			})
		}
	}
}

// BenchmarkLoad measures the part of BenchmarkPath and BenchmarkOpen that builds the packets.
func BenchmarkLoad(b *testing.B) {
	c := newCourse(b, 1, sched.Route, "rr", 1024)
	measured(b, func() {
		for i := 0; i < b.N; i += batchSize {
			c.load(i, 1<<20)
		}
	})
}

// BenchmarkOpen measures a new connection: UDP, one packet each, wlc, among 100,000, with
// the expiry of the oldest.
func BenchmarkOpen(b *testing.B) {
	for _, m := range []sched.Method{sched.Route, sched.Masq, sched.FullNAT} {
		for _, servers := range []int{4, 1000} {
			b.Run(fmt.Sprintf("%v/servers=%d", m, servers), func(b *testing.B) { benchmarkOpen(b, m, servers) })
		}
	}
}

// BenchmarkOpenSynced is BenchmarkOpen by NAT without a master daemon, twice, and with one that
// sends each connection, in turns. What all of them take of the processor is compared: "ratio" is
// how many connections a second there are with it, of those without; "again" is that of the two
// without, which shows what the machine's noise is.
func BenchmarkOpenSynced(b *testing.B) {
	const turn = 1 << 17
	with := openCourse(b, sched.Masq, 4, func(c *course) {
		mustDo(b, c.fw.SetSysctl("sync_threshold", "1 0"))
		startMaster(b, c.fw)
	})
	all := []*turnover{openCourse(b, sched.Masq, 4, func(*course) {}), openCourse(b, sched.Masq, 4, func(*course) {}), with}
	var again, ratio []float64
	for b.Loop() {
		var took [3]float64
		for i := range all {
			i = (i + len(ratio)) % len(all)
			began := processTime(b)
			all[i].open(turn)
			if m := all[i].c.fw.sync.master.Load(); m != nil {
				m.awaitTaken()
			}
			took[i] = float64(processTime(b) - began)
		}
		again, ratio = append(again, took[0]/took[1]), append(ratio, (took[0]+took[1])/2/took[2])
	}
	slices.Sort(again)
	slices.Sort(ratio)
	b.ReportMetric(again[len(again)/2], "again")
	b.ReportMetric(ratio[len(ratio)/2], "ratio")
	b.ReportMetric(float64(with.c.fw.sync.count.lost.Load()), "lost")
}

// awaitTaken returns when the master has taken all that workers have given it.
func (m *syncMaster) awaitTaken() {
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		left = 0
		m.mu.Lock()
		for _, r := range m.rings {
			left += r.waiting()
		}
		m.mu.Unlock()
	}
}

// startMaster starts a master daemon that sends to nobody.
func startMaster(b testing.TB, fw *Forwarder) {
	b.Helper()
	fw.MTU = func(string) (int, error) { return 1500, nil }
	fw.sync.net = nobody{}
	ctx, cancel := context.WithCancel(context.Background())
	fw.sync.begin(ctx)
	b.Cleanup(func() { fw.sync.stop(); cancel() })
	mustDo(b, fw.StartDaemon(config.Daemon{State: config.Master, Interface: "s"}))
}

// nobody is a segment without hosts.
type nobody struct{}

func (nobody) Sender(syncnet.Group) (syncnet.Conn, error)   { return silence{make(chan struct{})}, nil }
func (nobody) Receiver(syncnet.Group) (syncnet.Conn, error) { return silence{make(chan struct{})}, nil }

type silence struct{ end chan struct{} }

func (s silence) Read([]byte) (int, netip.Addr, error) {
	<-s.end
	return 0, netip.Addr{}, net.ErrClosed
}
func (silence) SetReadDeadline(time.Time) error  { return nil }
func (silence) SetWriteDeadline(time.Time) error { return nil }
func (silence) Write(b []byte) (int, error)      { return len(b), nil }
func (silence) Stale() bool                      { return false }
func (s silence) Close() error                   { close(s.end); return nil }

// turnover is a course that opens connections, of which so many live at a time.
type turnover struct {
	c    *course
	next int
}

const openAtOnce = 100_000

func openCourse(b *testing.B, m sched.Method, servers int, prepare func(*course)) *turnover {
	o := &turnover{c: newCourse(b, servers, m, "wlc", 4*openAtOnce)}
	prepare(o.c)
	if err := o.c.fw.SetTimeouts(config.Timeouts{UDP: 1}); err != nil {
		b.Fatal(err)
	}
	o.open(3 * openAtOnce)
	if m := o.c.fw.sync.master.Load(); m != nil {
		m.awaitTaken()
	}
	return o
}

// open opens n connections and expires as many.
func (o *turnover) open(n int) {
	c, now := o.c, -1
	for end := o.next + n; o.next < end; o.next += batchSize {
		if o.next*conntrack.TicksPerSecond/openAtOnce != now {
			now = o.next * conntrack.TicksPerSecond / openAtOnce
			c.fw.started = time.Now().Add(-time.Duration(now) * time.Second / conntrack.TicksPerSecond)
			at := tick(time.Since(c.fw.started)) // which goes on meanwhile
			for !c.fw.conns.Sweep(at, sweepSlots) {
			}
		}
		c.w.batch(c.load(o.next, 1<<26))
	}
}

func benchmarkOpen(b *testing.B, m sched.Method, servers int) {
	o := openCourse(b, m, servers, func(*course) {})
	measured(b, func() { o.open(b.N) })
	b.ReportMetric(float64(o.c.fw.conns.Len()), "live")
	if o.c.out.sent < o.next {
		b.Fatalf("%d of %d packets sent", o.c.out.sent, o.next)
	}
}
