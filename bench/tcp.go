package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
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
	Target string        `json:"target"`
	Kind   Kind          `json:"kind"`
	Conns  int           `json:"conns"`
	Round  int           `json:"round"`
	Start  time.Time     `json:"start"`
	Window time.Duration `json:"window_ns"`
	Done   uint64        `json:"done"`   // connections or requests in the window
	Bytes  uint64        `json:"bytes"`  // received by clients in the window
	Failed uint64        `json:"failed"` // connections refused, reset, timed out or with wrong data
	CPU    time.Duration `json:"cpu_ns"` // of the forwarder's process in the window
	Busy   time.Duration `json:"busy_ns"`
	P50    float64       `json:"p50_us,omitempty"`
	P99    float64       `json:"p99_us,omitempty"` // 0 with fewer than ten samples beyond it
	P999   float64       `json:"p999_us,omitempty"`
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

// crowd is the clients of a trial and what they have done so far.
type crowd struct {
	call   *TCPCall
	stop   atomic.Bool
	done   atomic.Uint64
	bytes  atomic.Uint64
	failed atomic.Uint64
	timing atomic.Bool // the window is open

	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // of microseconds
	wg        sync.WaitGroup
}

// TCP runs a trial.
func (t *Tester) TCP(c TCPCall, r *TCPTrial) error {
	l, err := listenServer(c.Port)
	if err != nil {
		return err
	}
	defer l.Close()
	g := &crowd{call: &c, histogram: hdrhistogram.New(1, 10_000_000, 3)}
	r.Kind, r.Conns, r.Start = c.Kind, c.Conns, time.Now()
	for range c.Conns {
		g.wg.Go(func() {
			if err := inNode(clientNode, g.client); err != nil {
				g.failed.Add(1)
			}
		})
	}
	time.Sleep(c.Warm)
	err = g.window(r)
	g.stop.Store(true)
	g.wg.Wait()
	r.Failed = g.failed.Load()
	g.percentiles(r)
	return err
}

func (g *crowd) window(r *TCPTrial) error {
	cpu, err := forwarderTime(g.call.PID)
	if err != nil {
		return err
	}
	begin, done, bytes, busy := time.Now(), g.done.Load(), g.bytes.Load(), machineTime().busy
	g.timing.Store(true)
	time.Sleep(g.call.Window)
	g.timing.Store(false)
	r.Window, r.Done, r.Bytes = time.Since(begin), g.done.Load()-done, g.bytes.Load()-bytes
	r.Busy = machineTime().busy - busy
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
func (g *crowd) percentiles(r *TCPTrial) {
	p := points(g.histogram)
	r.P50, r.P99, r.P999 = p.P50, p.P99, p.P999
}

// client is one client until the trial ends. It runs on a thread of its own in
// the client's namespace, with blocking calls.
func (g *crowd) client() error {
	var times []int64
	buf := make([]byte, 256<<10)
	for !g.stop.Load() {
		err := g.session(buf, &times)
		if err != nil && !g.stop.Load() {
			g.failed.Add(1)
			time.Sleep(time.Millisecond)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range times {
		_ = g.histogram.RecordValue(t)
	}
	return nil
}

// session is one connection.
func (g *crowd) session(buf []byte, times *[]int64) error {
	begin := time.Now()
	fd, err := dial(g.call.To)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if g.call.Kind == Bulk {
		return g.download(fd, buf)
	}
	request := make([]byte, requestLen)
	request[0] = g.call.Kind[0]
	for !g.stop.Load() {
		if g.call.Kind != Connect {
			begin = time.Now()
		}
		if err := exchange(fd, request, buf[:answerLen]); err != nil {
			return err
		}
		g.done.Add(1)
		if g.timing.Load() {
			*times = append(*times, time.Since(begin).Microseconds())
		}
		if g.call.Kind == Connect {
			return nil
		}
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

var errAnswer = errors.New("wrong answer")

func exchange(fd int, request, answer []byte) error {
	if _, err := unix.Write(fd, request); err != nil {
		return err
	}
	for got := 0; got < len(answer); {
		n, err := read(fd, answer[got:])
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		got += n
	}
	for i, b := range answer {
		if b != fill(i) {
			return errAnswer
		}
	}
	return nil
}

func (g *crowd) download(fd int, buf []byte) error {
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

// listenServer opens the real servers: one listener for all addresses of the
// server node.
func listenServer(port uint16) (l net.Listener, err error) {
	err = inNode(serverNode, func() error {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bench: server: %w", err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	return l, nil
}

// answer serves one connection until it is closed, or after one answer where
// the first byte says so.
func answer(c net.Conn) {
	defer c.Close()
	request, reply := make([]byte, requestLen), make([]byte, answerLen)
	for i := range reply {
		reply[i] = fill(i)
	}
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if request[0] == Bulk[0] {
			flood(c)
			return
		}
		if _, err := c.Write(reply); err != nil || request[0] == Connect[0] {
			return
		}
	}
}

func flood(c net.Conn) {
	block := make([]byte, 256<<10)
	for {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}
