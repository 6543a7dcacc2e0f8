package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/config"
	"uvs/forwarder/director"
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

// connect sends the first packet of a connection from each of three clients, and
// prints where it went and how the scheduler came to that.
func (n *network) connect(ctx context.Context, d *director.Director, out io.Writer) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.Ready():
	}
	records, stop := d.StartTrace(false)
	defer stop()
	for _, host := range []byte{6, 7, 8} {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), 50000)
		server, err := n.request(ctx, client)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s went to %s\n", client, server)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-records:
			explain(out, &r)
		}
	}
	return nil
}

// request sends a client's first packet and returns the server that it reached.
func (n *network) request(ctx context.Context, client netip.AddrPort) (server string, err error) {
	clients, servers := n.far[0], n.far[1]
	syn, err := firstPacket(client)
	if err != nil {
		return "", err
	}
	if _, err := clients.conn.WriteToUDPAddrPort(syn, clients.other); err != nil {
		return "", err
	}
	if end, ok := ctx.Deadline(); ok {
		_ = servers.conn.SetReadDeadline(end)
	}
	buf := make([]byte, 2048)
	size, _, err := servers.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return "", err
	}
	return destination(buf[:size]), nil
}

// explain prints the arithmetic of the pick that a trace has.
func explain(out io.Writer, r *config.Trace) {
	for _, s := range r.Steps {
		if s.Pick == nil {
			continue
		}
		fmt.Fprintf(out, "  %s: %s\n", s.Pick.Scheduler, s.Pick.Rule)
		for _, c := range s.Pick.Candidates {
			mark := ""
			if c.Server == s.Pick.Chosen {
				mark = "  chosen"
			}
			if c.Skip != "" {
				mark = "  left out: " + c.Skip
			}
			fmt.Fprintf(out, "    %s  %s%s\n", c.Addr, c.Figure, mark)
		}
	}
}

// firstPacket returns the frame of a SYN from a client to the virtual address.
func firstPacket(client netip.AddrPort) ([]byte, error) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP,
		SrcIP: client.Addr().AsSlice(), DstIP: virtual.Addr.AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(client.Port()), DstPort: layers.TCPPort(virtual.Port), SYN: true, Window: 65535}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: router[:], DstMAC: clientLink.MAC[:], EthernetType: layers.EthernetTypeIPv4}, ip, tcp)
	return b.Bytes(), err
}

// destination returns the address and port that a frame of TCP is for.
func destination(b []byte) string {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if ip == nil || tcp == nil {
		return "nowhere: " + p.String()
	}
	return net.JoinHostPort(ip.DstIP.String(), fmt.Sprint(uint16(tcp.DstPort)))
}
