package lab_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// TestLocalPortsOfClosedConnections has real servers in TIME_WAIT asked again from
// the same ports, by clients that agree on time stamps with them or not. None
// may be refused, or have to ask twice.
func TestLocalPortsOfClosedConnections(t *testing.T) {
	for _, topology := range []string{"fullnat", "fullnat6"} {
		t.Run(topology, func(t *testing.T) {
			top := labtest.Build(t, topology, lab.Options{})
			for i, s := range top.Node("director").Services {
				top.Node("director").Services[i].Command = append(s.Command, "--local-ports", "20000-20003")
			}
			l := labtest.Start(t, top)
			served := 0
			for _, stamps := range []string{"11", "10", "01", "00", "11"} {
				timestamps(t, l, "client", stamps[:1])
				timestamps(t, l, "rs1", stamps[1:])
				for range 12 {
					served++
					if err := closing(l); err != nil {
						t.Fatalf("connection %d, time stamps %s: %v", served, stamps, err)
					}
				}
			}
			if n := count(t, labtest.Exec(t, l, "client", "cat", "/proc/net/netstat"), "TCPSynRetrans"); n != 0 {
				t.Errorf("%d SYNs had to be sent again", n)
			}
			if out := labtest.Exec(t, l, "director", "uvs", "stats"); !strings.Contains(out, "local-ports-reused") {
				t.Errorf("no port was used again:\n%s", out)
			}
		})
	}
}

func timestamps(t *testing.T, l *lab.Lab, node, value string) {
	t.Helper()
	sh(t, l, node, "echo "+value+" > /proc/sys/net/ipv4/tcp_timestamps")
}

// closing makes a request after which the server closes first.
func closing(l *lab.Lab) error {
	c, err := l.Dial(context.Background(), "client", "tcp", vip(l, 80))
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	answer, err := io.ReadAll(c)
	if err == nil && !strings.Contains(string(answer), "Web") {
		err = fmt.Errorf("the answer is %q", answer)
	}
	return err
}

// count returns a figure of /proc/net/netstat: a line of names, a line of values.
func count(t *testing.T, text, name string) (n int) {
	t.Helper()
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		for i, w := range names {
			if w == name && i < len(words) {
				_, err := fmt.Sscan(words[i], &n)
				if err != nil {
					continue
				}
				return n
			}
		}
		names = words
	}
	t.Fatalf("no figure %s", name)
	return 0
}
