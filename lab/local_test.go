package lab_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// local is a lab whose director also runs two servers of its own, on port 80 and
// on port 8080, and starts with no service.
type local struct {
	*lab.Lab
	own netip.Addr // of the director, not the VIP
}

func startLocal(t *testing.T, name string, o lab.Options, arguments ...string) *local {
	t.Helper()
	topology := labtest.Build(t, name, o)
	d := topology.Node("director")
	d.Setup = nil
	for i := range d.Services {
		if d.Services[i].Name == "director" {
			d.Services[i].Command = append(d.Services[i].Command, arguments...)
		}
	}
	for _, port := range []string{"80", "8080"} {
		d.Services = append(d.Services, lab.Service{Name: "http" + port, Ready: "tcp:" + port,
			Command: lab.Command{"uvs", "http", "--text", "Here" + port, "--listen", ":" + port}})
	}
	l := &local{Lab: labtest.Start(t, topology)}
	for _, i := range d.Interfaces {
		for _, a := range i.Addresses {
			if a.Prefix.Addr() != l.Topology.VIP {
				l.own = a.Prefix.Addr()
			}
		}
	}
	return l
}

// serve makes the VIP's port 80 a service of one real server.
func (l *local) serve(t *testing.T, server netip.Addr, port int, method string) {
	t.Helper()
	at := func(a netip.Addr, port int) string { return netip.AddrPortFrom(a, uint16(port)).String() }
	labtest.Exec(t, l.Lab, "director", "ipvsadm", "-C")
	labtest.Exec(t, l.Lab, "director", "ipvsadm", "-A", "-t", at(l.Topology.VIP, 80), "-s", "rr")
	labtest.Exec(t, l.Lab, "director", "ipvsadm", "-a", "-t", at(l.Topology.VIP, 80), "-r", at(server, port), method)
}

// answers expects the page from what serves it, to a node's request.
func (l *local) answers(t *testing.T, node, want, path string) {
	t.Helper()
	page, err := l.Get(node, url(l.Lab, path))
	if err != nil {
		t.Errorf("%s: %v", node, err)
		report(t, l.Lab)
		return
	}
	if page = strings.TrimSpace(page); want != "" && page != want {
		t.Errorf("%s got %q, want %q", node, page, want)
	}
}

// large has a node get a page of many segments.
func (l *local) large(t *testing.T, node string) {
	t.Helper()
	page, err := l.Get(node, url(l.Lab, "/bytes/3000000"))
	if err != nil || len(page) != 3000000 {
		t.Errorf("%s got %d bytes of 3000000: %v", node, len(page), err)
		report(t, l.Lab)
	}
}

// A server on the director, and a client on it, with each method: what IPVS does
// with them was recorded from Linux 6.1.
func TestServersAndClientsOnTheDirector(t *testing.T) {
	for _, io := range []string{"ring", "socket"} {
		for _, name := range []string{"nat", "nat6"} {
			t.Run(io+"/"+name, func(t *testing.T) {
				l := startLocal(t, name, lab.Options{}, "--io", io)
				lo := netip.MustParseAddr("127.0.0.1")
				if l.own.Is6() {
					lo = netip.IPv6Loopback()
				}
				for _, c := range []struct {
					server netip.Addr
					port   int
					method string
					want   string
					remote bool // a client elsewhere is served, too
				}{
					{l.own, 8080, "-m", "Here8080", true},
					{l.own, 80, "-m", "Here80", true},
					{l.Topology.VIP, 8080, "-m", "Here8080", true},
					{l.own, 8080, "-g", "Here80", true},
					{l.own, 80, "-i", "Here80", true},
					{l.own, 8080, "--fullnat", "Here8080", true},
					{lo, 8080, "-m", "Here8080", false},
					{lo, 80, "-g", "Here80", true},
					{l.Topology.RealServers()[0].Address(), 80, "-m", "Web1", true},
					{l.Topology.RealServers()[0].Address(), 80, "--fullnat", "Web1", true},
				} {
					t.Run(fmt.Sprintf("%s:%d %s", c.server, c.port, c.method), func(t *testing.T) {
						l.serve(t, c.server, c.port, c.method)
						for _, node := range []string{"client", "director"} {
							if node == "client" && !c.remote {
								continue
							}
							for range 3 {
								l.answers(t, node, c.want, "/")
							}
							l.large(t, node)
						}
					})
				}
			})
		}
	}
}
