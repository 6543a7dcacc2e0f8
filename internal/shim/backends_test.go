package shim

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/internal/nstest"
)

// A backend is a server that a checker asks. It starts at an address and returns what stops it.
type backend func(t *testing.T, at string) (stop func())

func listen(t *testing.T, at string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// tcpBackend says a text to whoever connects, and after each line that it reads.
func tcpBackend(says func(line string) string) backend {
	return func(t *testing.T, at string) func() {
		l := listen(t, at)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					lines := bufio.NewScanner(c)
					for io.WriteString(c, says("")); lines.Scan(); {
						io.WriteString(c, says(lines.Text()))
					}
				}()
			}
		}()
		return func() { l.Close() }
	}
}

func plainTCP(t *testing.T, at string) func() {
	return tcpBackend(func(string) string { return "" })(t, at)
}

func smtp(t *testing.T, at string) func() {
	return tcpBackend(func(line string) string {
		switch {
		case line == "":
			return "220 mail.test\r\n"
		case strings.HasPrefix(line, "QUIT"):
			return "221 bye\r\n"
		}
		return "250 mail.test\r\n"
	})(t, at)
}

func web(t *testing.T, at string) func()    { return webServer(t, at, (*httptest.Server).Start) }
func webTLS(t *testing.T, at string) func() { return webServer(t, at, (*httptest.Server).StartTLS) }

func webServer(t *testing.T, at string, start func(*httptest.Server)) func() {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") }))
	s.Listener.Close()
	s.Listener = listen(t, at)
	start(s)
	return s.Close
}

// udpBackend answers datagrams.
func udpBackend(reply func([]byte) []byte) backend {
	return func(t *testing.T, at string) func() {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				c.WriteTo(reply(buf[:n]), from)
			}
		}()
		return func() { c.Close() }
	}
}

func echo(t *testing.T, at string) func() {
	return udpBackend(func(b []byte) []byte { return b })(t, at)
}

// dns answers each question with one address.
func dns(t *testing.T, at string) func() {
	return udpBackend(func(b []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(b) != nil || len(m.Questions) == 0 {
			return nil
		}
		m.Response, m.Additionals = true, nil
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		}}
		out, _ := m.Pack()
		return out
	})(t, at)
}

// fileBackend is a file, for a check by a script.
func fileBackend(path string) backend {
	return func(t *testing.T, _ string) func() {
		write(t, path, "")
		return func() { os.Remove(path) }
	}
}

// addresses gives the loopback interface addresses, under which servers listen.
func addresses(t *testing.T, list ...string) {
	t.Helper()
	nstest.Need(t)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(a), Mask: net.CIDRMask(32, 32)}}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { netlink.AddrDel(lo, addr) })
	}
}

// servers returns the real servers of a service, "10.1.0.1:80 weight 3" each, in the order of
// their addresses; "none" if there is no such service.
func servers(d *controltest.Director, service string) string {
	k, err := config.ParseKey(service)
	if err != nil {
		return err.Error()
	}
	v, err := d.State(k)
	if err != nil {
		return "none"
	}
	list := make([]string, len(v.Servers))
	for i, s := range v.Servers {
		list[i] = fmt.Sprintf("%s weight %d", netip.AddrPortFrom(s.Addr, s.Port), s.Weight)
	}
	return sortedWords(list)
}

func sortedWords(list []string) string {
	text := sorted(strings.Join(list, "\n"))
	return strings.ReplaceAll(text, "\n", ", ")
}

// await waits until a service has these real servers.
func await(t *testing.T, d *controltest.Director, what, service, want string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("%s: %s has %q, want %q", what, service, last, want)
		}
	}()
	nstest.Eventually(t, what, func() bool {
		last = servers(d, service)
		return last == want
	})
}

func inDir(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	write(t, path, text)
	return path
}
