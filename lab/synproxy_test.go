package lab_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/lab"
	"uvs/lab/labtest"
)

// The tests of this file have real TCP stacks at both ends of a SYN proxy.

// proxySYNs switches the SYN proxy of the web service on.
func proxySYNs(t *testing.T, l *lab.Lab) {
	t.Helper()
	labtest.Exec(t, l, "director", "uvs", "synproxy", "-t", vip(l, 80), "on")
}

func TestTrafficThroughASYNProxy(t *testing.T) {
	for _, topology := range []string{"nat", "fullnat", "nat6", "fullnat6"} {
		for _, w := range []struct {
			name    string
			options lab.Options
		}{
			{"offloads on", lab.Options{}},
			{"offloads off", lab.Options{NoOffload: true}},
		} {
			if w.options.NoOffload && topology != "nat" {
				continue // what is translated is the same
			}
			t.Run(topology+"/"+w.name, func(t *testing.T) {
				l := labtest.Start(t, labtest.Build(t, topology, w.options))
				proxySYNs(t, l)
				t.Run("HTTP", func(t *testing.T) {
					turns(t, l)
					all := counters(t, l)
					if all["syn-cookie"] == 0 || all["synproxy-opened"] == 0 || all["synproxy-unanswered"] != 0 {
						t.Errorf("counters: %v", all)
					}
				})
				t.Run("download", func(t *testing.T) { download(t, l) })
				t.Run("upload", func(t *testing.T) { upload(t, l) })
				if !w.options.NoOffload {
					t.Run("parallel", func(t *testing.T) { parallel(t, l) })
					t.Run("a server that refuses", func(t *testing.T) { refusing(t, l) })
				}
				all := counters(t, l)
				if all["syn-cookie"] == 0 || all["synproxy-opened"] == 0 || all["synproxy-unanswered"] != 0 {
					t.Errorf("counters: %v", all)
				}
				if t.Failed() {
					report(t, l)
				}
			})
		}
	}
}

// refusing has no server listen: the client is connected, then reset at once.
func refusing(t *testing.T, l *lab.Lab) {
	for _, rs := range l.Topology.RealServers() {
		if err := l.Kill(rs.Name); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := l.Dial(ctx, "client", "tcp", vip(l, 80))
	if errors.Is(err, unix.ECONNRESET) {
		return // faster than the client's own connect returned
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the client's read ends with %v, want %v", err, unix.ECONNRESET)
	}
}

// TestServersWithOtherOptions: the client is offered what the director knows, which is not
// what the servers take.
func TestServersWithOtherOptions(t *testing.T) {
	for name, sysctl := range map[string]string{
		"no time stamps":     "net.ipv4.tcp_timestamps=0",
		"no scale":           "net.ipv4.tcp_window_scaling=0",
		"no SACK":            "net.ipv4.tcp_sack=0",
		"another scale":      "net.ipv4.tcp_rmem=4096 131072 67108864",
		"a scale of nothing": "net.ipv4.tcp_rmem=4096 32768 65535",
	} {
		for _, end := range []string{"rs", "client"} {
			t.Run(name+"/"+end, func(t *testing.T) {
				l := labtest.Start(t, labtest.Build(t, "fullnat", lab.Options{}))
				proxySYNs(t, l)
				file, value, _ := strings.Cut(strings.ReplaceAll(sysctl, ".", "/"), "=")
				for _, n := range l.Topology.Nodes {
					if strings.HasPrefix(n.Name, end) {
						sh(t, l, n.Name, "echo '"+value+"' >/proc/sys/"+file)
					}
				}
				for range 2 { // the second client is offered less
					t.Run("download", func(t *testing.T) { download(t, l) })
					t.Run("upload", func(t *testing.T) { upload(t, l) })
				}
			})
		}
	}
}

// TestClientsGetThroughAFloodOfSYNs: the table has room for 100 connections, and the flood
// has ten thousand sources that answer nothing.
func TestClientsGetThroughAFloodOfSYNs(t *testing.T) {
	for _, topology := range []string{"nat", "fullnat"} {
		t.Run(topology, func(t *testing.T) {
			spec := labtest.Build(t, topology, lab.Options{})
			for i, s := range spec.Node("director").Services {
				if s.Name == "director" {
					spec.Node("director").Services[i].Command = append(s.Command, "--conns", "100")
				}
			}
			l := labtest.Start(t, spec)
			labtest.NeedIP(t)
			labtest.Exec(t, l, "director", "ip", "route", "replace", "198.18.0.0/16", "via", l.Topology.Node("client").Address().String())
			held := openSession(t, l)
			proxySYNs(t, l)
			a := newAttacker(t, l)
			for range 10 {
				for range 1000 {
					a.send(a.randomSYN())
				}
				if _, failed := attempts(l, 2, patience); failed != 0 {
					t.Errorf("%d of 2 requests fail", failed)
				}
			}
			if server, err := held.ask(patience); err != nil || server != held.server {
				t.Errorf("the connection from before: %q, %v", server, err)
			}
			if all := counters(t, l); all["syn-cookie"] < 5000 || all["drop-conn-table-full"] != 0 {
				t.Errorf("counters: %v", all)
			}
		})
	}
}

// randomSYN is a SYN for the web service from a source that is not there.
func (a *attacker) randomSYN() []byte {
	s := segment(frame.FlagSYN, 5, 0)
	binary.BigEndian.PutUint16(s, uint16(1024+a.IntN(60000)))
	binary.BigEndian.PutUint32(s[4:], a.Uint32())
	return a.packet(frame.ProtoTCP, s, func(ip []byte) {
		from := netip.AddrFrom4([4]byte{198, 18, byte(a.IntN(256)), byte(1 + a.IntN(254))}).As4() // RFC 2544
		copy(ip[12:], from[:])
	})
}
