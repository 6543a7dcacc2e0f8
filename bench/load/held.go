package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// HoldCall describes clients that hold connections open, make requests on them
// again and again, and open new ones meanwhile.
type HoldCall struct {
	To     netip.AddrPort // service, or the first of its addresses
	Spread int            // addresses it has; 0: one
	Held   int            // connections held open
	Keys   int            // clients, or addresses where there are several, whose server is noted
	Rate   float64        // new connections a second
	Every  time.Duration  // between the requests of a held connection
}

// HeldResult is what became of it.
type HeldResult struct {
	Before, After []uint16 // server of each key from 1; 0: no answer
	Conns         []HeldConn
	News          []Attempt
	Faults        []string
}

// HeldConn is a held connection.
type HeldConn struct {
	Server uint16
	Broken time.Duration // when, after the beginning; 0: not
	Waits  []Wait        // longer ones
}

// Wait is an exchange that took long.
type Wait struct{ At, Took time.Duration }

// Attempt is a new connection.
type Attempt struct {
	At, Took time.Duration
	Server   uint16 // 0: it failed
}

// noticeable is the shortest exchange that is kept one by one.
const noticeable = 2 * time.Millisecond

// patience is how long a client waits for an answer.
const patience = time.Second

// heldClients is the clients while they run.
type heldClients struct {
	HoldCall
	begin time.Time
	stop  atomic.Bool
	wg    sync.WaitGroup

	mu  sync.Mutex
	out HeldResult
}

// Hold notes the server of each key, opens the connections to hold, and lets them
// and new ones run until Release. There is one holding at a time.
func (t *Tester) Hold(c HoldCall, _ *struct{}) error {
	h := &heldClients{HoldCall: c}
	h.out.Before = h.serverOfEachKey()
	h.out.Conns = make([]HeldConn, c.Held)
	fds, err := h.dialAll()
	if err != nil {
		return err
	}
	h.begin = time.Now()
	for i, fd := range fds {
		h.wg.Go(func() { h.keep(i, fd) })
	}
	h.wg.Go(h.openNew)
	t.held = h
	return nil
}

// Elapsed is the time since the connections began to run.
func (t *Tester) Elapsed(_ struct{}, d *time.Duration) error {
	if t.held == nil {
		return errors.New("bench: nothing is held")
	}
	*d = time.Since(t.held.begin)
	return nil
}

// Release ends the connections, notes the server of each key once more, and
// returns what happened.
func (t *Tester) Release(_ struct{}, out *HeldResult) error {
	h := t.held
	if h == nil {
		return errors.New("bench: nothing is held")
	}
	h.stop.Store(true)
	h.wg.Wait()
	t.held = nil
	h.out.After = h.serverOfEachKey()
	*out = h.out
	return nil
}

// serverOfEachKey asks once for every key which server it comes to.
func (h *heldClients) serverOfEachKey() []uint16 {
	const askers = 8
	all := make([]uint16, h.Keys)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				all[i], _ = h.ask(i)
			}
		})
	}
	wg.Wait()
	return all
}

// ask opens a connection of a key for one exchange.
func (h *heldClients) ask(key int) (uint16, error) {
	fd, err := h.dial(key)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return h.exchange(fd)
}

// dial opens a connection of a key: from its own client, to its own address where
// there are several.
func (h *heldClients) dial(key int) (int, error) {
	to := h.To
	from, _ := Source(uint32(key))
	if h.Spread > 1 {
		to = netip.AddrPortFrom(AddrAfter(to.Addr(), uint32(key%h.Spread)), to.Port())
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	tv := unix.NsecToTimeval(patience.Nanoseconds())
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // a reset at the end: no port waits
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: from})
	if err == nil {
		err = connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// connect is connect(2) that goes on after a signal, where the call cannot be
// made again (connect(2), EINTR).
func connect(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	if !errors.Is(err, unix.EINTR) {
		return err
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll(p, int(max(time.Until(deadline), 0).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.ETIMEDOUT
		}
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		return err
	}
}

// exchange makes a request and returns the number of the server that answered.
func (h *heldClients) exchange(fd int) (uint16, error) {
	var request [requestLen]byte
	var answer [answerLen]byte
	if _, err := unix.Write(fd, request[:]); err != nil {
		return 0, err
	}
	for got := 0; got < len(answer); {
		n, err := read(fd, answer[got:])
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return 0, io.ErrUnexpectedEOF
		}
		got += n
	}
	for i, b := range answer[2:] {
		if b != fill(i+2) {
			h.fault("an answer has wrong bytes")
			return 0, errAnswer
		}
	}
	return binary.BigEndian.Uint16(answer[:]), nil
}

func (h *heldClients) fault(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.out.Faults) < maxFaults && !slices.Contains(h.out.Faults, s) {
		h.out.Faults = append(h.out.Faults, s)
	}
}

// dialAll opens the connections to hold and learns their servers.
func (h *heldClients) dialAll() (fds []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}()
	for i := range h.Held {
		fd, err := h.dial(i)
		if err != nil {
			return fds, fmt.Errorf("bench: connection %d: %w", i, err)
		}
		fds = append(fds, fd)
		if h.out.Conns[i].Server, err = h.exchange(fd); err != nil {
			return fds, fmt.Errorf("bench: first answer on connection %d: %w", i, err)
		}
	}
	return fds, nil
}

// keep makes requests on a held connection until the end, or until it breaks.
func (h *heldClients) keep(i, fd int) {
	defer unix.Close(fd)
	l := &h.out.Conns[i] // nobody else's
	time.Sleep(h.Every * time.Duration(i) / time.Duration(h.Held))
	for !h.stop.Load() {
		at := time.Now()
		err := h.askAgain(fd, l.Server)
		took := time.Since(at)
		if err != nil {
			l.Broken = time.Since(h.begin)
			return
		}
		if took > noticeable {
			l.Waits = append(l.Waits, Wait{at.Sub(h.begin), took})
		}
		time.Sleep(h.Every - took)
	}
}

// askAgain makes a request that the server of before has to answer.
func (h *heldClients) askAgain(fd int, before uint16) error {
	server, err := h.exchange(fd)
	if err == nil && server != before {
		h.fault("a connection was answered by another server than before")
	}
	return err
}

// openNew opens new connections at the rate, each from another client, on time
// whatever becomes of those before.
func (h *heldClients) openNew() {
	if h.Rate <= 0 {
		return
	}
	for i := 0; !h.stop.Load(); i++ {
		due := h.begin.Add(time.Duration(float64(i) / h.Rate * 1e9))
		time.Sleep(time.Until(due))
		h.wg.Go(func() {
			server, err := h.ask(h.Keys + i)
			if err != nil {
				server = 0
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.out.News = append(h.out.News, Attempt{due.Sub(h.begin), time.Since(due), server})
		})
	}
}

// ServeNumber runs a server of a cluster: it answers each request with its number,
// until the process is killed.
func ServeNumber(number uint16, port int) error {
	l, err := net.Listen("tcp4", fmt.Sprint(":", port))
	if err != nil {
		return fmt.Errorf("bench: server: %w", err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("bench: server: %w", err)
		}
		go answerNumber(c, number)
	}
}

func answerNumber(c net.Conn, number uint16) {
	defer c.Close()
	request, reply := make([]byte, requestLen), make([]byte, answerLen)
	for i := range reply {
		reply[i] = fill(i)
	}
	binary.BigEndian.PutUint16(reply, number)
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}
