package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/peer"
)

// running is a service of a node, with its process if it is running.
type running struct {
	Service
	host *host
	log  *tail

	mu   sync.Mutex
	proc *process
}

// readyWithin is how long a service may take to become ready.
const readyWithin = 10 * time.Second

// startServices starts all services, then waits for each: they start in parallel, and then
// those that are late.
func (s *supervisor) startServices() error {
	for _, h := range s.hosts {
		for _, sv := range h.Services {
			if sv.Setup && s.Topology.Bare {
				continue
			}
			s.services = append(s.services, &running{Service: sv, host: h, log: &tail{}})
		}
	}
	for _, late := range []bool{false, true} {
		for _, r := range s.services {
			if r.Late != late {
				continue
			}
			if err := s.launch(r); err != nil {
				return err
			}
		}
		for _, r := range s.services {
			if r.Late != late {
				continue
			}
			if err := r.await(); err != nil {
				return err
			}
		}
	}
	return nil
}

// launch starts a service that is not running.
func (s *supervisor) launch(r *running) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alive() {
		return nil
	}
	out, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	p, err := s.spawn(r.host, r.Command, w)
	w.Close()
	if err != nil {
		out.Close()
		return fmt.Errorf("lab: %s: start %s: %w", r.host.Name, r.Command, err)
	}
	go r.log.follow(out)
	r.proc = p
	return nil
}

// alive reports whether the process is running. The caller holds the lock.
func (r *running) alive() bool {
	if r.proc == nil {
		return false
	}
	select {
	case <-r.proc.exited:
		return false
	default:
		return true
	}
}

// kill ends a service as a crash does, by SIGKILL, and waits until its children have ended
// too: what is started next must not find their sockets.
func (r *running) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.alive() {
		return
	}
	r.proc.signal(unix.SIGKILL)
	<-r.proc.exited
	_ = await("processes to end", func() (bool, error) {
		return errors.Is(unix.Kill(-r.proc.pid, 0), unix.ESRCH), nil
	})
}

// await returns when the service can be reached in its node.
func (r *running) await() error {
	if r.Ready == "" {
		return nil
	}
	deadline := time.Now().Add(readyWithin)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := r.host.try(func() error { return probe(r.Ready) })
		if err == nil {
			return nil
		}
		r.mu.Lock()
		alive := r.alive()
		r.mu.Unlock()
		if !alive {
			return fmt.Errorf("lab: %s: %s ended at once: %s", r.host.Name, r.Command, r.log)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lab: %s: %s does not answer at %s: %w: %s", r.host.Name, r.Command, r.Ready, err, r.log)
		}
		time.Sleep(wait)
	}
}

// probe connects from the calling thread's network namespace to "tcp:PORT", which is one of
// the loopback address, "tcp:ADDRESS:PORT" or "unix:@NAME", or reads what `uvs alive` wrote to
// "alive:FILE". The runtime's own dialer might use another thread.
func probe(where string) error {
	kind, rest, _ := strings.Cut(where, ":")
	if kind == "alive" {
		return probeAlive(rest)
	}
	var sa unix.Sockaddr
	domain := unix.AF_UNIX
	switch kind {
	case "tcp":
		var err error
		if domain, sa, err = tcpAddress(rest); err != nil {
			return err
		}
	case "unix":
		sa = &unix.SockaddrUnix{Name: rest}
	default:
		return errors.New("neither tcp, unix nor alive")
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sa); err != nil || where != "unix:"+peer.DefaultSocket {
		return err
	}
	return answers(fd)
}

// answers asks a director for anything. Being connected to it is not enough: the socket of one
// that was killed takes connections until the kernel has closed the rings before it.
func answers(fd int) error {
	err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	if err == nil {
		_, err = unix.Write(fd, []byte("GET / HTTP/1.0\r\n\r\n"))
	}
	n := 0
	if err == nil {
		n, err = unix.Read(fd, make([]byte, 1))
	}
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func probeAlive(file string) error {
	if text, err := os.ReadFile(file); err != nil || string(text) != "0\n" {
		return errors.New("no director answers")
	}
	return nil
}

// tcpAddress reads PORT or ADDRESS:PORT.
func tcpAddress(text string) (domain int, sa unix.Sockaddr, err error) {
	if !strings.Contains(text, ":") {
		text = "127.0.0.1:" + text
	}
	ap, err := netip.ParseAddrPort(text)
	if ap.Addr().Is6() {
		return unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, err
	}
	return unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, err
}

func parseAddress(s string) (Address, error) {
	p, err := netip.ParsePrefix(s)
	return Address{Prefix: p}, err
}

// tail keeps the end of what a service prints.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 64 << 10 // bytes

func (t *tail) follow(f *os.File) {
	defer f.Close()
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		t.mu.Lock()
		t.text = append(t.text, buf[:n]...)
		if over := len(t.text) - tailSize; over > 0 {
			t.text = append(t.text[:0], t.text[over:]...)
		}
		t.mu.Unlock()
	}
}

// String returns what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
