// Example is a program that imports uvs. It adds a scheduler, a forwarding method
// and a kind of port of its own, without a change to uvs, and needs no privilege:
// its two links are UDP sockets on the loopback address.
//
//	hrw.go      a scheduler: sched.Register
//	marked.go   a forwarding method: modes.Register
//	udp.go      a port and its driver: package port
//	main.go     a director of them: package director
//	network.go  clients and servers at the far ends of the links
//
// It sends the first packet of some connections and the servers' answers through
// the director, and prints which server each client got, and why.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/director"
	"uvs/forwarder/neigh"
	"uvs/sched"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// The network:
//
//	clients 192.0.2.0/24 ── c, director, s ── servers 10.1.0.0/24
var (
	clientLink = neigh.Link{Index: 1, Name: "c", MAC: [6]byte{2, 0, 0, 0, 1, 1}, MTU: 1500, Up: true, Running: true, Ethernet: true}
	serverLink = neigh.Link{Index: 2, Name: "s", MAC: [6]byte{2, 0, 0, 0, 2, 1}, MTU: 1500, Up: true, Running: true, Ethernet: true}

	router = [6]byte{2, 0, 0, 0, 1, 2} // of the clients
	rack   = [6]byte{2, 0, 0, 0, 2, 2} // of the servers

	virtual = config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("203.0.113.80"), Port: 80}
)

// run builds the director, sends frames through it and prints what came of them.
func run(ctx context.Context, out io.Writer) error {
	n, err := newNetwork()
	if err != nil {
		return err
	}
	defer n.close()
	d, err := newDirector(ctx, n)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	err = n.connect(ctx, d, out)
	stop()
	return errors.Join(err, <-ended)
}

// newDirector returns a director of the network's cables with one service.
func newDirector(ctx context.Context, n *network) (*director.Director, error) {
	c := director.Defaults()
	c.Driver = n.near
	c.Neighbours = &neigh.Static{
		Interfaces: []neigh.Link{clientLink, serverLink},
		Routes: []neigh.StaticRoute{
			{To: netip.MustParsePrefix("10.1.0.0/24"), Hop: neigh.NewHop(serverLink, rack, netip.MustParseAddr("10.1.0.254"))},
			{To: netip.MustParsePrefix("192.0.2.0/24"), Hop: neigh.NewHop(clientLink, router, netip.MustParseAddr("192.0.2.254"))},
		},
	}
	c.NoControl = true
	c.Conns = 1 << 12
	d, err := director.New(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := configure(d); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// configure does what these commands do:
//
//	ipvsadm -A -t 203.0.113.80:80 -s hrw
//	ipvsadm -a -t 203.0.113.80:80 -r 10.1.0.1:8080 -m -w 1
//	ipvsadm -a -t 203.0.113.80:80 -r 10.1.0.2:8080 --marked -w 2
//	ipvsadm -a -t 203.0.113.80:80 -r 10.1.0.3:8080 -m -w 0
func configure(d *director.Director) error {
	if err := d.AddService(config.Service{Key: virtual, Scheduler: "hrw"}); err != nil {
		return err
	}
	for i, weight := range []int32{1, 2, 0} {
		s := config.NewServer()
		s.Addr, s.Port = netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}), 8080
		s.Method, s.Weight = sched.Masq, weight
		if i == 1 {
			s.Method = marked
		}
		if err := d.AddServer(virtual, s); err != nil {
			return err
		}
	}
	return nil
}
