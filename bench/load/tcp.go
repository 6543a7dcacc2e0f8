package load

import (
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Kind is what real TCP connections do in a trial.
type Kind string

// Kinds of TCP trials. A request is 64 bytes, an answer 128.
const (
	Connect  Kind = "connect"  // one request on each connection, closed by the server
	Request  Kind = "request"  // requests one after the other on open connections
	PingPong Kind = "pingpong" // the same on one connection: the round trip
	Bulk     Kind = "bulk"     // the server sends as fast as it can
)

// Kinds are all of them.
var Kinds = []Kind{Connect, Request, PingPong, Bulk}

const (
	requestLen = 64
	answerLen  = 128
)

// TCPCall describes a trial with TCP connections.
type TCPCall struct {
	Kind   Kind
	To     netip.AddrPort // where clients connect to
	Port   uint16         // that the servers listen on
	Conns  int            // at a time
	PID    int            // of the forwarder, 0 if it is the kernel
	Warm   time.Duration
	Window time.Duration
}

// TCPTrial is one measurement with TCP connections.
type TCPTrial struct {
	Target  string        `json:"target"`
	Kind    Kind          `json:"kind"`
	Conns   int           `json:"conns"`
	Round   int           `json:"round"`
	Start   time.Time     `json:"start"`
	Window  time.Duration `json:"window_ns"`
	Done    uint64        `json:"done"`              // connections or requests in the window
	Bytes   uint64        `json:"bytes"`             // received by clients in the window
	Failed  uint64        `json:"failed"`            // connections refused, reset, timed out or with wrong data
	Refused uint64        `json:"refused,omitempty"` // of them, refused or reset by whoever was asked
	Wrong   uint64        `json:"wrong,omitempty"`   // of them, with wrong data
	CPU     time.Duration `json:"cpu_ns"`            // of the forwarder's process in the window
	Busy    time.Duration `json:"busy_ns"`
	P50     float64       `json:"p50_us,omitempty"`
	P99     float64       `json:"p99_us,omitempty"` // 0 with fewer than ten samples beyond it
	P999    float64       `json:"p999_us,omitempty"`
}

// PerSecond is what a kind is measured in: connections or requests a second, or
// bytes a second.
func (t *TCPTrial) PerSecond() float64 {
	if t.Kind == Bulk {
		return float64(t.Bytes) / t.Window.Seconds()
	}
	return float64(t.Done) / t.Window.Seconds()
}

// Cost is the forwarder's CPU time in nanoseconds for each connection, request
// or byte.
func (t *TCPTrial) Cost() float64 {
	n := t.Done
	if t.Kind == Bulk {
		n = t.Bytes
	}
	if n == 0 || t.CPU == 0 {
		return 0
	}
	return float64(t.CPU.Nanoseconds()) / float64(n)
}

// clients is the clients of a trial and what they have done so far.
type clients struct {
	call    *TCPCall
	stop    atomic.Bool
	done    atomic.Uint64
	bytes   atomic.Uint64
	failed  atomic.Uint64
	refused atomic.Uint64 // of those that failed
	wrong   atomic.Uint64 // likewise, by wrong data
	timing  atomic.Bool   // exchanges are timed
	servers *servers

	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // of microseconds
	wg        sync.WaitGroup
}

// TCP runs a trial.
func (t *Tester) TCP(c TCPCall, r *TCPTrial) error {
	g, err := startClients(&c)
	if err != nil {
		return err
	}
	time.Sleep(c.Warm)
	g.timing.Store(true)
	err = g.window(c.Window, r)
	g.timing.Store(false)
	g.close()
	r.Failed, r.Refused, r.Wrong = g.failed.Load(), g.refused.Load(), g.wrong.Load()
	g.percentiles(r)
	return err
}

// startClients starts the servers and clients of a trial.
func startClients(c *TCPCall) (*clients, error) {
	s, err := startServers(c.Port)
	if err != nil {
		return nil, err
	}
	g := &clients{call: c, servers: s, histogram: hdrhistogram.New(1, 10_000_000, 3)}
	threads, run := min(c.Conns, loopThreads), g.eventLoop
	if c.Kind == Bulk {
		threads, run = c.Conns, g.downloads
	}
	for i := range threads {
		g.start(i, threads, run)
	}
	return g, nil
}

// close ends the clients, and then the servers.
func (g *clients) close() {
	g.stop.Store(true)
	g.wg.Wait()
	g.servers.close()
}

// loopThreads is how many threads the clients of small requests are on, and how
// many servers there are: as with wrk and nginx, each has many connections. A
// thread for each connection is woken for each answer, so several that arrive
// together cost as much as each alone; NAT's CPU time for a request was then 1.02
// times HAProxy's, with event loops 0.81 times.
const loopThreads = 2

// window measures for a while what the clients do.
func (g *clients) window(d time.Duration, r *TCPTrial) error {
	r.Kind, r.Conns, r.Start = g.call.Kind, g.call.Conns, time.Now()
	cpu, err := forwarderTime(g.call.PID)
	if err != nil {
		return err
	}
	failed, refused, wrong := g.failed.Load(), g.refused.Load(), g.wrong.Load()
	begin, done, bytes, busy := time.Now(), g.done.Load(), g.bytes.Load(), machineCPU().busy
	time.Sleep(d)
	r.Failed, r.Refused, r.Wrong = g.failed.Load()-failed, g.refused.Load()-refused, g.wrong.Load()-wrong
	r.Window, r.Done, r.Bytes = time.Since(begin), g.done.Load()-done, g.bytes.Load()-bytes
	r.Busy = machineCPU().busy - busy
	after, err := forwarderTime(g.call.PID)
	r.CPU = after - cpu
	return err
}

func forwarderTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	return processTime(pid)
}

// percentiles fills those that at least ten samples lie beyond.
func (g *clients) percentiles(r *TCPTrial) {
	p := points(g.histogram)
	r.P50, r.P99, r.P999 = p.P50, p.P99, p.P999
}

// record adds the times of a thread of clients.
func (g *clients) record(times []int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range times {
		_ = g.histogram.RecordValue(t)
	}
}

// downloads is one client of Bulk until the trial ends. It runs on a thread of
// its own in the client's namespace, with blocking calls.
func (g *clients) downloads(int) error {
	buf := make([]byte, 256<<10)
	for !g.stop.Load() {
		if err := g.download(buf); err != nil && !g.stop.Load() {
			g.failed.Add(1)
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func (g *clients) download(buf []byte) error {
	fd, err := dial(g.call.To)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, append([]byte{Bulk[0]}, make([]byte, requestLen-1)...)); err != nil {
		return err
	}
	for !g.stop.Load() {
		n, err := read(fd, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		g.bytes.Add(uint64(n))
	}
	return nil
}

// dial opens a connection; no call on it waits longer than two seconds.
func dial(to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	tv := unix.Timeval{Sec: 2}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// read is read(2) that goes on after a signal: the runtime sends them, and a
// call with a timeout is not restarted (signal(7)).
func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// StartTCP starts clients that run until EndTCP. There is one such run at a time.
func (t *Tester) StartTCP(c TCPCall, _ *struct{}) (err error) {
	t.clients, err = startClients(&c)
	return err
}

// WindowTCP measures for a while what the clients do.
func (t *Tester) WindowTCP(d time.Duration, r *TCPTrial) error {
	if t.clients == nil {
		return errors.New("bench: no clients run")
	}
	return t.clients.window(d, r)
}

// EndTCP ends the clients.
func (t *Tester) EndTCP(struct{}, *struct{}) error {
	if t.clients != nil {
		t.clients.close()
		t.clients = nil
	}
	return nil
}
