package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder"
	"uvs/forwarder/config"
	"uvs/forwarder/director"
	"uvs/forwarder/frame"
	"uvs/sched"
)

// network is both ends of the director's cables: near is the director's, far is
// that of clients and servers.
type network struct{ near, far cables }

func newNetwork() (*network, error) {
	n := &network{}
	for _, ends := range []*cables{&n.near, &n.near, &n.far, &n.far} {
		l := clientLink
		if len(*ends) == 1 {
			l = serverLink
		}
		c, err := newCable(l)
		if err != nil {
			n.close()
			return nil, err
		}
		*ends = append(*ends, c)
	}
	for i := range n.near {
		n.near[i].other, n.far[i].other = n.far[i].addr(), n.near[i].addr()
	}
	return n, nil
}

func (n *network) close() {
	for _, c := range append(n.near, n.far...) {
		_ = c.conn.Close()
	}
}

// connect begins a connection from each of three clients, and prints which server
// it went to, how the scheduler came to that, and whose answer the client gets.
func (n *network) connect(ctx context.Context, d *director.Director, out io.Writer) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.Ready():
	}
	records, stop := d.StartTrace(forwarder.Wanted{})
	defer stop()
	for _, host := range []byte{6, 7, 8} {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), 50000)
		request, err := n.pass(ctx, 0, segment(client, netip.AddrPortFrom(virtual.Addr, virtual.Port), true))
		if err != nil {
			return err
		}
		_, server := ends(request)
		fmt.Fprintf(out, "%s went to %s with DSCP %d\n", client, server, dscp(request))
		if err := explain(ctx, out, records); err != nil {
			return err
		}
		reply, err := n.pass(ctx, 1, segment(server, client, false))
		if err != nil {
			return err
		}
		from, to := ends(reply)
		fmt.Fprintf(out, "  %s gets the answer from %s\n", to, from)
	}
	return nil
}

// pass sends a frame to the director by one cable and returns what it sends by the
// other.
func (n *network) pass(ctx context.Context, by int, b []byte) ([]byte, error) {
	from, to := n.far[by], n.far[1-by]
	if _, err := from.conn.WriteToUDPAddrPort(b, from.other); err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		_ = to.conn.SetReadDeadline(end)
	}
	buf := make([]byte, 2048)
	size, _, err := to.conn.ReadFromUDPAddrPort(buf)
	return buf[:size], err
}

// explain prints the arithmetic of the next pick in the records.
func explain(ctx context.Context, out io.Writer, records <-chan config.Trace) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-records:
			at := slices.IndexFunc(r.Steps, func(s config.Step) bool { return s.Pick != nil })
			if at < 0 {
				continue // of a server's answer
			}
			pick := r.Steps[at].Pick
			fmt.Fprintf(out, "  %s: %s\n", pick.Scheduler, pick.Rule)
			for _, c := range pick.Candidates {
				fmt.Fprintf(out, "    %s  %s%s\n", c.Addr, c.Figure, remark(&c, pick.Chosen))
			}
			return nil
		}
	}
}

func remark(c *sched.Candidate, chosen sched.ID) string {
	switch {
	case c.Server == chosen:
		return "  chosen"
	case c.Skip != "":
		return "  left out: " + c.Skip
	}
	return ""
}

// segment returns the frame of a connection's SYN, or of the answer to it.
func segment(from, to netip.AddrPort, request bool) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), SYN: true, ACK: !request, Window: 65535}
	_ = tcp.SetNetworkLayerForChecksum(ip) // knows IPv4
	src, dst := router, clientLink.MAC
	if !request {
		src, dst = rack, serverLink.MAC
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeIPv4}, ip, tcp)
	if err != nil {
		panic(err) // of layers that are all known here
	}
	return b.Bytes()
}

// ends returns where a segment over IPv4 comes from and goes to, as the director's
// own parser reads it.
func ends(b []byte) (from, to netip.AddrPort) {
	f := parse(b)
	return f.Flow.Source(), f.Flow.Destination()
}

func dscp(b []byte) byte {
	f := parse(b)
	return f.L3()[1] >> 2
}

func parse(b []byte) *frame.Frame {
	var p frame.Parser
	f := &frame.Frame{}
	f.Reset(b, 0, len(b), len(b))
	p.Parse(f)
	return f
}
