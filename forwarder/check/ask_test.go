package check

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
	"uvs/sched"
)

// loopback is a Director whose servers are sockets of this process: the virtual address is
// theirs, too.
type loopback struct{}

func (loopback) OpenProbe(config.Key, netip.AddrPort, config.Proto, netip.AddrPort, netip.AddrPort) (func(), error) {
	return func() {}, nil
}

func (loopback) ProbeSource(_, _ netip.Addr, _ sched.Method) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
func (loopback) AskARP(netip.Addr, netip.Addr)                {}
func (loopback) AnsweredARP(netip.Addr, netip.Addr) time.Time { return time.Time{} }
func (loopback) Hold(config.Key, map[netip.AddrPort]bool) ([]config.Server, error) {
	return nil, nil
}

// listen serves each connection by f until the test ends.
func listen(t *testing.T, f func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// datagrams answers each datagram with what f makes of it.
func datagrams(t *testing.T, f func(string) string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := f(string(buf[:n])); answer != "" {
				c.WriteTo([]byte(answer), from)
			}
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// site is a web server with a few pages.
func site(t *testing.T, start func(http.Handler) *httptest.Server) netip.AddrPort {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "sick.example" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, "well")
	})
	mux.Handle("/moved", http.RedirectHandler("/nowhere", http.StatusFound))
	s := start(mux)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestWhatAProbeFinds(t *testing.T) {
	web, tls := site(t, httptest.NewServer), site(t, httptest.NewTLSServer)
	greets := listen(t, func(c net.Conn) { io.WriteString(c, "220 here\r\n"); io.Copy(io.Discard, c) })
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	endless := listen(t, func(c net.Conn) {
		io.ReadAtLeast(c, make([]byte, 1), 1)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
		for _, err := c.Write(make([]byte, 1024)); err == nil; {
			_, err = io.WriteString(c, strings.Repeat("x", 1024))
		}
	})
	chatty := listen(t, func(c net.Conn) {
		io.ReadAtLeast(c, make([]byte, 1), 1)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\x1b[2J:"+strings.Repeat("é", 5000)+"\r\n\r\n")
		io.Copy(io.Discard, c)
	})
	hangsUp := listen(t, func(c net.Conn) { io.ReadAtLeast(c, make([]byte, 1), 1) })
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := netip.MustParseAddrPort(closed.Addr().String())
	closed.Close()
	echo := datagrams(t, func(s string) string { return s })
	mute := datagrams(t, func(string) string { return "" })
	for _, c := range []struct {
		name  string
		to    netip.AddrPort
		check config.Check
		ok    bool
		want  string
	}{
		{"a port that listens", silent, config.Check{Kind: config.CheckTCP}, true, "connects"},
		{"a port without a listener", refuses, config.Check{Kind: config.CheckTCP}, false, "refused"},
		{"a greeting", greets, config.Check{Kind: config.CheckTCP, Expect: "220 "}, true, "answers"},
		{"another greeting", greets, config.Check{Kind: config.CheckTCP, Expect: "421 "}, false, `the answer begins with "220 here`},
		{"no greeting", silent, config.Check{Kind: config.CheckTCP, Expect: "220"}, false, "no answer"},
		{"the end in place of an answer", hangsUp, config.Check{Kind: config.CheckTCP, Send: "x", Expect: "220"}, false, "closed without an answer"},
		{"a page", web, config.Check{Kind: config.CheckHTTP, Path: "/health"}, true, "status 200"},
		{"a page that is not there", web, config.Check{Kind: config.CheckHTTP, Path: "/lost"}, false, "status 404"},
		{"a page that need not be there", web, config.Check{Kind: config.CheckHTTP, Path: "/lost", Status: "200,404"}, true, "status 404"},
		{"a redirection is not followed", web, config.Check{Kind: config.CheckHTTP, Path: "/moved"}, true, "status 302"},
		{"a name in the header", web, config.Check{Kind: config.CheckHTTP, Path: "/health", Host: "sick.example"}, false, "status 503"},
		{"a page by TLS", tls, config.Check{Kind: config.CheckHTTPS, Path: "/health", Host: "a.example"}, true, "status 200"},
		{"a page that never comes", silent, config.Check{Kind: config.CheckHTTP}, false, "no answer"},
		{"a head that never ends", endless, config.Check{Kind: config.CheckHTTP}, false, "server response headers exceeded 65536 bytes"},
		{"a line that is none", chatty, config.Check{Kind: config.CheckHTTP}, false, "malformed MIME header"},
		{"TLS where there is none", web, config.Check{Kind: config.CheckHTTPS}, false, "tls: "},
		{"a datagram", echo, config.Check{Kind: config.CheckUDP, Send: "ping", Expect: "ping"}, true, "answers"},
		{"another datagram", echo, config.Check{Kind: config.CheckUDP, Expect: "pong"}, false, "the answer begins with"},
		{"no datagram", mute, config.Check{Kind: config.CheckUDP}, false, "no answer"},
		{"a datagram to a port without a listener", refuses, config.Check{Kind: config.CheckUDP}, false, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check.Timeout = 300
			if c.ok {
				c.check.Timeout = 20000
			}
			p := Probe{
				Key:    config.Key{Proto: c.check.Proto(), Addr: c.to.Addr(), Port: c.to.Port()}.Normal(),
				Server: config.Server{Addr: c.to.Addr(), Port: c.to.Port(), Method: sched.Masq, Weight: 1}, Check: c.check.Full(),
			}
			a := p.Ask(context.Background(), loopback{})
			for _, r := range []config.ProbeResult{a.VIP, a.Own} {
				if r.OK != c.ok || !strings.Contains(r.Answer, c.want) {
					t.Errorf("%t, %q, want %t, %q", r.OK, r.Answer, c.ok, c.want)
				}
				if len(r.Answer) > longestFailure+len("…") {
					t.Errorf("%d bytes are kept", len(r.Answer))
				}
			}
		})
	}
}

// flows is a loopback that counts the flows that are open.
type flows struct {
	loopback
	open atomic.Int32
}

func (f *flows) OpenProbe(config.Key, netip.AddrPort, config.Proto, netip.AddrPort, netip.AddrPort) (func(), error) {
	f.open.Add(1)
	return func() { f.open.Add(-1) }, nil
}

// hangs listens as long as the test lasts, and accepts nothing. With full set there is
// no room for another connection.
func hangs(t *testing.T, full bool) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	room := 100
	if full {
		room = 0
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, room)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	if full { // a backlog of 0 has room for one
		c, err := net.Dial("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	return at
}

// When a probe has ended nothing of it is left: no flow, no socket.
func TestAProbeLeavesNothingOpen(t *testing.T) {
	for _, c := range []struct {
		name string
		full bool
		kind config.CheckKind
	}{
		{"http to a server that never answers", false, config.CheckHTTP},
		{"https to a server that never answers", false, config.CheckHTTPS},
		{"tcp to a server that drops SYNs", true, config.CheckTCP},
		{"http to a server that drops SYNs", true, config.CheckHTTP},
		{"https to a server that drops SYNs", true, config.CheckHTTPS},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := hangs(t, c.full)
			p := Probe{
				Key:    config.Key{Proto: config.TCP, Addr: at.Addr(), Port: at.Port()}.Normal(),
				Server: config.Server{Addr: at.Addr(), Port: at.Port(), Method: sched.Masq}, Check: config.Check{Kind: c.kind, Timeout: 100}.Full(),
			}
			var d flows
			a := p.Ask(context.Background(), &d)
			if a.VIP.OK || a.VIP.Answer != noAnswer || a.Own.Answer != noAnswer {
				t.Errorf("%+v", a)
			}
			if n := d.open.Load(); n != 0 {
				t.Errorf("%d flows are open", n)
			}
		})
	}
}

// A director that ends waits for no server.
func TestAProbeEndsWithItsContext(t *testing.T) {
	mute := datagrams(t, func(string) string { return "" })
	ctx, cancel := context.WithCancel(context.Background())
	p := Probe{
		Key:    config.Key{Proto: config.UDP, Addr: mute.Addr(), Port: mute.Port()}.Normal(),
		Server: config.Server{Addr: mute.Addr(), Port: mute.Port(), Method: sched.Masq},
		Check:  config.Check{Kind: config.CheckUDP, Timeout: 24 * 3600 * 1000}.Full(),
	}
	ended := make(chan Answer)
	go func() { ended <- p.Ask(ctx, loopback{}) }()
	cancel()
	if a := <-ended; a.VIP.OK {
		t.Errorf("%+v", a)
	}
}

func TestWordsForBothPaths(t *testing.T) {
	good, silent, refused := config.ProbeResult{OK: true, Answer: "status 200"}, config.ProbeResult{Answer: noAnswer}, config.ProbeResult{Answer: "refused"}
	for _, c := range []struct {
		method sched.Method
		a      Answer
		want   string
	}{
		{sched.Route, Answer{VIP: good, Own: good}, "server answers on the VIP (status 200)"},
		{sched.Route, Answer{VIP: good, Own: good, AnswersARP: true}, "server answers on the VIP, but answers ARP for it too"},
		{sched.Route, Answer{VIP: good, Own: refused}, "server answers on the VIP, not on its own address (refused)"},
		{sched.Route, Answer{VIP: silent, Own: good}, "server answers on its own address, not on the VIP (no answer): the VIP is missing on its lo"},
		{sched.Tunnel, Answer{VIP: silent, Own: good}, "server answers on its own address, not on the VIP (no answer): the tunnel is closed"},
		{sched.Masq, Answer{VIP: silent, Own: good}, "server answers on its own address, not on the VIP (no answer): its answers do not pass the director"},
		{sched.FullNAT, Answer{VIP: silent, Own: good}, "server answers on its own address, not on the VIP (no answer): its answers to the director's local address"},
		{sched.Route, Answer{VIP: refused, Own: refused}, "server answers neither on its own address nor on the VIP (refused)"},
		{sched.Route, Answer{VIP: silent, Own: refused}, "server answers neither on its own address (refused) nor on the VIP (no answer)"},
	} {
		p := Probe{Server: config.Server{Method: c.method}, Check: config.Check{Kind: config.CheckHTTP}}
		if got := p.words(&c.a); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.method, got, c.want)
		}
	}
}
