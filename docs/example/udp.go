package main

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// cable is a link whose frames travel as UDP datagrams, one in each, as those of
// a virtual machine that QEMU connects by -netdev dgram.
type cable struct {
	neigh.Link
	conn  *net.UDPConn
	other netip.AddrPort // where frames go
}

// newCable returns a cable from a free port of the loopback address; other is set
// later.
func newCable(l neigh.Link) (*cable, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("cable %s: %w", l.Name, err)
	}
	_ = conn.SetReadBuffer(4 << 20) // whatever the kernel grants is fine
	return &cable{Link: l, conn: conn}, nil
}

func (c *cable) addr() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// cables is a port.Driver whose links are cables.
type cables []*cable

// OwnPorts returns true: each cable has ports of its own.
func (cables) OwnPorts(neigh.Link) bool { return true }

// Open returns the cable's port. It has no filter: the director looks at each
// frame anyway.
func (d cables) Open(l neigh.Link, _ int, _ []bpf.RawInstruction) ([]port.Port, error) {
	c, err := d.cable(l)
	if err != nil {
		return nil, err
	}
	return []port.Port{newUDPPort(c)}, nil
}

// Sender returns a port for frames that leave by the cable and came by another.
func (d cables) Sender(l neigh.Link) (port.Port, error) {
	c, err := d.cable(l)
	if err != nil {
		return nil, err
	}
	return sender{newUDPPort(c)}, nil
}

func (d cables) cable(l neigh.Link) (*cable, error) {
	for _, c := range d {
		if c.Index == l.Index {
			return c, nil
		}
	}
	return nil, fmt.Errorf("there is no cable %s", l.Name)
}

// udpPort is a port.Port on a cable.
type udpPort struct {
	*cable
	buf      []byte
	parser   frame.Parser
	ordinary frame.SoftwareOffload
}

func newUDPPort(c *cable) *udpPort {
	return &udpPort{cable: c, buf: make([]byte, frame.Headroom+frame.MaxLen)}
}

// Recv waits for one frame, which is valid until the next Recv. Nothing beside the
// bytes says what their sender left to the hardware, so it is inferred from them.
func (p *udpPort) Recv(fs []frame.Frame) (int, error) {
	if len(fs) == 0 {
		return 0, nil
	}
	n, _, err := p.conn.ReadFromUDPAddrPort(p.buf[frame.Headroom:])
	if err != nil {
		return 0, net.ErrClosed // the only error of a socket that is connected to nobody
	}
	f := &fs[0]
	f.Reset(p.buf, frame.Headroom, frame.Headroom+n, n)
	f.Ingress = p.Index
	if p.parser.Parse(f) == frame.Continue {
		f.InferOffload(p.MTU)
	}
	return 1, nil
}

// Send sends the frames as ordinary ones, segmented and with checksums. Those that
// are larger than the MTU are refused.
func (p *udpPort) Send(fs []frame.Frame) (int, error) {
	sent := 0
	for i := range fs {
		ok, err := p.sendOne(&fs[i])
		if err != nil {
			port.Refuse(fs[i:])
			return sent, net.ErrClosed
		}
		if ok {
			sent++
		} else {
			fs[i].Refused = true
		}
	}
	return sent, nil
}

func (p *udpPort) sendOne(f *frame.Frame) (bool, error) {
	b := p.ordinary.First(f)
	if b == nil || len(b) > frame.EthernetLen+p.MTU {
		return false, nil
	}
	for ; b != nil; b = p.ordinary.Next() {
		if _, err := p.conn.WriteToUDPAddrPort(b, p.other); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Close wakes Recv.
func (p *udpPort) Close() error {
	_ = p.conn.Close() // an error the second time
	return nil
}

// sender is a port that leaves the cable open.
type sender struct{ *udpPort }

// Close does nothing: the cable is closed by its own port.
func (sender) Close() error { return nil }
