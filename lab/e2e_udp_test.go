package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"uvs/internal/web"
	"uvs/lab"
)

// queries sends DNS queries from many ports. Each is a connection, and both servers answer.
func queries(t *testing.T, l *lab.Lab) {
	seen := map[string]int{}
	for i := range 40 {
		name, err := ask(t, l, uint16(i))
		if err != nil {
			t.Fatalf("query %d: %v", i, err)
		}
		seen[name]++
	}
	if len(seen) != 2 {
		t.Errorf("answers came from %v, want both servers", seen)
	}
}

// ask sends one query and returns the name of the server that answered.
func ask(t *testing.T, l *lab.Lab, id uint16) (string, error) {
	c := dialUDP(t, l, 53)
	defer c.Close()
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: id}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("who."), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}}}
	b, err := q.Pack()
	if err != nil {
		return "", err
	}
	if _, err := c.Write(b); err != nil {
		return "", err
	}
	buf := make([]byte, 512)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	var a dnsmessage.Message
	if err := a.Unpack(buf[:n]); err != nil {
		return "", err
	}
	if a.ID != id || len(a.Answers) != 1 {
		return "", fmt.Errorf("answer %v", a)
	}
	txt, _ := a.Answers[0].Body.(*dnsmessage.TXTResource)
	return strings.Join(txt.TXT, ""), nil
}

func dialUDP(t *testing.T, l *lab.Lab, port uint16) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := l.Dial(ctx, "client", "udp", vip(l, port))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// largeDatagrams exchanges datagrams that are fragmented and must arrive whole, also back to
// back.
func largeDatagrams(t *testing.T, l *lab.Lab) {
	largest := int64(65507)
	switch l.Topology.Name {
	case "tun":
		largest -= 20 // an outer header more must fit into 65535 bytes
	case "tun6":
		largest = 65535 - 40 - 8 // both headers inside count
	case "nat6", "dr6", "fullnat6":
		largest = 65535 - 8 // the length of IPv6 leaves its header out
	}
	for _, size := range []int64{0, 1, 1472, 1473, 8972, 60000, 60001, largest} {
		want, _ := io.ReadAll(web.Stream(size))
		got, err := echo(t, l, want)
		if errors.Is(err, unix.EMSGSIZE) {
			// The director has said what the tunnel takes (RFC 1191);
			// from now on the client sends fragments.
			got, err = echo(t, l, want)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("of %d bytes %d came back, %v", size, len(got), err)
		}
	}
}

// echo sends a datagram and returns the answer.
func echo(t *testing.T, l *lab.Lab, b []byte) ([]byte, error) {
	c := dialUDP(t, l, 7)
	defer c.Close()
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	got := make([]byte, 1<<16)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(got)
	return got[:n], err
}
