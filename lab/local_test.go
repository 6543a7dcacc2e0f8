package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/web"
	"uvs/lab"
	"uvs/lab/labtest"
)

// local is a lab whose director runs servers of its own: Here80 and Here8080, an
// echo at UDP 7007. It starts with no service.
type local struct {
	*lab.Lab
	own  netip.Addr // of the director, not the VIP
	real netip.Addr // of rs1
}

func startLocal(t *testing.T, name string, o lab.Options, arguments ...string) *local {
	t.Helper()
	topology := labtest.Build(t, name, o)
	d := topology.Node("director")
	d.Setup = nil
	addServers(d, arguments...)
	l := &local{Lab: labtest.Start(t, topology)}
	for _, i := range d.Interfaces {
		for _, a := range i.Addresses {
			if a.Prefix.Addr() != l.Topology.VIP {
				l.own = a.Prefix.Addr()
			}
		}
	}
	l.real = l.Topology.RealServers()[0].Address()
	return l
}

// addServers gives a director servers of its own, and arguments.
func addServers(d *lab.Node, arguments ...string) {
	for i := range d.Services {
		if d.Services[i].Name == "director" {
			d.Services[i].Command = append(d.Services[i].Command, arguments...)
		}
	}
	for _, port := range []string{"80", "8080"} {
		s := lab.Service{Name: "http" + port, Ready: "tcp:" + port,
			Command: lab.Command{"uvs", "http", "--text", "Here" + port, "--listen", ":" + port}}
		if port == "8080" {
			s.Command = append(s.Command, "--echo", ":7007")
		}
		d.Services = append(d.Services, s)
	}
}

func at(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

// serve makes a port of the VIP a service of one real server.
func (l *local) serve(t *testing.T, proto string, port uint16, server string, method string) {
	t.Helper()
	labtest.Exec(t, l.Lab, "director", "ipvsadm", "-C")
	labtest.Exec(t, l.Lab, "director", "ipvsadm", "-A", proto, vip(l.Lab, port), "-s", "rr")
	labtest.Exec(t, l.Lab, "director", "ipvsadm", "-a", proto, vip(l.Lab, port), "-r", server, method)
}

// answers expects the page from the server named, to a node's request.
func (l *local) answers(t *testing.T, node, want string) {
	t.Helper()
	page, err := l.Get(node, url(l.Lab, "/"))
	if page = strings.TrimSpace(page); err != nil || page != want {
		t.Errorf("%s got %q, want %q: %v", node, page, want, err)
		report(t, l.Lab)
	}
}

// large has a node get a page of many segments.
func (l *local) large(t *testing.T, node string) {
	t.Helper()
	const size = 3000000
	page, err := l.Get(node, url(l.Lab, fmt.Sprint("/bytes/", size)))
	if err != nil || len(page) != size {
		t.Errorf("%s got %d bytes of %d: %v", node, len(page), size, err)
		report(t, l.Lab)
	}
}

// The VIP may be the host's, or the director's alone.
func TestServersAndClientsOnTheDirector(t *testing.T) {
	for _, io := range []string{"ring", "socket"} {
		for _, name := range []string{"nat", "nat6"} {
			for _, elsewhere := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/elsewhere %t", io, name, elsewhere), func(t *testing.T) {
					l := startLocal(t, name, lab.Options{VIPElsewhere: elsewhere}, "--io", io)
					for _, c := range []struct{ server, method, want string }{
						{at(l.own, 8080), "-m", "Here8080"},
						{at(l.own, 8080), "--fullnat", "Here8080"},
						{at(l.real, 80), "-m", "Web1"},
						{at(l.real, 80), "--fullnat", "Web1"},
					} {
						t.Run(c.server+" "+c.method, func(t *testing.T) {
							l.serve(t, "-t", 80, c.server, c.method)
							for _, node := range []string{"client", "director"} {
								for range 3 {
									l.answers(t, node, c.want)
								}
								l.large(t, node)
							}
							l.checks(t)
						})
					}
				})
			}
		}
	}
}

// checks expects that the host reaches the real servers directly, as health checks do.
func (l *local) checks(t *testing.T) {
	t.Helper()
	for server, want := range map[string]string{at(l.own, 8080): "Here8080", at(l.real, 80): "Web1"} {
		page, err := l.Get("director", "http://"+server+"/")
		if err != nil || strings.TrimSpace(page) != want {
			t.Errorf("directly from %s: %q, %v", server, page, err)
		}
	}
}

// Direct routing to the director itself and to another server in turn: the director's own
// stack delivers to the former.
func TestARealServerOnTheDirector(t *testing.T) {
	l := startLocal(t, "dr", lab.Options{})
	l.serve(t, "-t", 80, "172.16.253.130", "-g")
	labtest.Exec(t, l.Lab, "director", "ipvsadm", "-a", "-t", vip(l.Lab, 80), "-r", l.real.String(), "-g")
	for _, want := range []string{"Web1", "Here80", "Web1", "Here80"} {
		l.answers(t, "client", want)
	}
}

// Without the VIP on the host nothing there would take the packets, by direct
// routing or by a tunnel: they are dropped, as they are by IPVS.
func TestDirectRoutingToTheDirectorNeedsTheVIPThere(t *testing.T) {
	l := startLocal(t, "nat", lab.Options{VIPElsewhere: true})
	for _, method := range []string{"-g", "-i"} {
		l.serve(t, "-t", 80, at(l.own, 80), method)
		for _, node := range []string{"client", "director"} {
			l.refuses(t, node)
		}
	}
}

// refuses expects that connections to the service fail.
func (l *local) refuses(t *testing.T, node string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := l.Dial(ctx, node, "tcp", vip(l.Lab, 80)); err == nil {
		c.Close()
		t.Errorf("%s is answered", node)
	}
}

func TestDatagramsToAServerOnTheDirector(t *testing.T) {
	for _, name := range []string{"nat", "nat6"} {
		t.Run(name, func(t *testing.T) {
			l := startLocal(t, name, lab.Options{})
			l.serve(t, "-u", 7, at(l.own, 7007), "-m")
			for _, node := range []string{"client", "director"} {
				for _, size := range []int64{1, 1473, 60000} {
					want, _ := io.ReadAll(web.Stream(size))
					got, err := l.exchange(t, node, 7, want)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: of %d bytes %d came back: %v", node, size, len(got), err)
					}
				}
			}
			l.serve(t, "-u", 9, at(l.own, 9009), "-m")
			for _, node := range []string{"client", "director"} {
				if _, err := l.exchange(t, node, 9, []byte("anybody?")); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s: a closed port says %v, want port unreachable", node, err)
				}
			}
		})
	}
}

// exchange sends a datagram to the service and returns the answer.
func (l *local) exchange(t *testing.T, node string, port uint16, b []byte) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := l.Dial(ctx, node, "udp", vip(l.Lab, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	got := make([]byte, 1<<16)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(got)
	return got[:n], err
}

// An address is local as long as the director has it, whatever it was when the
// server was added.
func TestAServersAddressComesToTheDirectorAndGoes(t *testing.T) {
	l := startLocal(t, "nat", lab.Options{})
	const moving = "192.168.166.77/24"
	l.serve(t, "-t", 80, "192.168.166.77:80", "-m")
	for range 2 {
		labtest.Exec(t, l.Lab, "rs1", "ip", "addr", "add", moving, "dev", "eth0")
		l.eventually(t, "Web1")
		labtest.Exec(t, l.Lab, "rs1", "ip", "addr", "del", moving, "dev", "eth0")
		labtest.Exec(t, l.Lab, "director", "ip", "addr", "add", moving, "dev", "eth1")
		l.eventually(t, "Here80")
		labtest.Exec(t, l.Lab, "director", "ip", "addr", "del", moving, "dev", "eth1")
	}
}

// eventually waits until both nodes are answered by the server named.
func (l *local) eventually(t *testing.T, want string) {
	t.Helper()
	for _, node := range []string{"client", "director"} {
		page, end := "", time.Now().Add(10*time.Second)
		for strings.TrimSpace(page) != want && time.Now().Before(end) {
			client := l.HTTPClient(node)
			client.Timeout = 500 * time.Millisecond
			answer, err := client.Get(url(l.Lab, "/"))
			if err != nil {
				continue
			}
			b, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			page = string(b)
		}
		if strings.TrimSpace(page) != want {
			t.Errorf("%s got %q at last, want %q", node, page, want)
			report(t, l.Lab)
		}
	}
}

// A killed director leaves the host's packets to the host.
func TestAKilledDirectorLeavesTheHostsPacketsAlone(t *testing.T) {
	l := startLocal(t, "nat", lab.Options{})
	l.serve(t, "-t", 80, vip(l.Lab, 8080), "-m")
	l.answers(t, "client", "Here8080")
	labtest.Exec(t, l.Lab, "director", "sh", "-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q 'uvs[ ]director' && kill -9 ${p#/proc/}; done; true")
	end := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		c, err := l.Dial(ctx, "client", "tcp", vip(l.Lab, 8080))
		cancel()
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the director's server does not answer by itself: %v", err)
		}
	}
}

// With a device made for the host, clients on it reach a VIP that only the
// director has by a route.
func TestClientsOnTheDirectorByATAPDevice(t *testing.T) {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no TUN devices: ", err)
	}
	f.Close()
	l := startLocal(t, "nat", lab.Options{VIPElsewhere: true}, "--io", "tap:tap0")
	labtest.Exec(t, l.Lab, "director", "ip", "addr", "add", "10.7.0.1/24", "dev", "tap0")
	labtest.Exec(t, l.Lab, "director", "ip", "link", "set", "tap0", "up")
	labtest.Exec(t, l.Lab, "director", "ip", "route", "add", l.Topology.VIP.String(), "dev", "tap0")
	labtest.Exec(t, l.Lab, "rs1", "ip", "route", "replace", "10.7.0.0/24", "via", l.own.String())
	for _, c := range []struct{ server, method, want string }{
		{at(l.own, 8080), "-m", "Here8080"},
		{at(l.real, 80), "-m", "Web1"},
		{at(l.real, 80), "--fullnat", "Web1"},
	} {
		l.serve(t, "-t", 80, c.server, c.method)
		for _, node := range []string{"client", "director"} {
			l.answers(t, node, c.want)
			l.large(t, node)
		}
	}
}

// FTP's helper follows the control connections of a server on the director, too.
func TestFTPToAServerOnTheDirector(t *testing.T) {
	server, err := exec.LookPath("vsftpd")
	if err != nil {
		labtest.Skip(t, "no vsftpd here (Debian: vsftpd)")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		labtest.Skip(t, "no curl here")
	}
	topology := labtest.Build(t, "nat", lab.Options{})
	d := topology.Node("director")
	d.Setup = nil
	d.Services = append(d.Services, ftpServer(t, server, d))
	l := labtest.Start(t, topology)
	labtest.Exec(t, l, "director", "ipvsadm", "-A", "-t", vip(l, 21), "-s", "rr")
	labtest.Exec(t, l, "director", "ipvsadm", "-a", "-t", vip(l, 21), "-r", "192.168.166.130:21", "-m")
	for _, node := range []string{"client", "director"} {
		for _, words := range []string{"--disable-epsv --no-ftp-skip-pasv-ip", "", "-P - --disable-eprt", "-P -"} {
			curl := append([]string{"curl", "-gsS", "--max-time", "5"}, strings.Fields(words)...)
			out, err := l.Exec(node, append(curl, "ftp://"+vip(l, 21)+"/name")...)
			if err != nil || strings.TrimSpace(out) != "director" {
				t.Errorf("%s, curl %s: %q, %v", node, words, out, err)
			}
		}
	}
	if t.Failed() {
		report(t, l)
	}
}
