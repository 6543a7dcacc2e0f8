// Package tap is the director's port over a TAP or TUN device (songgao/water): the
// other side of the device is the host itself, or a virtual machine, or whatever it is
// bridged to.
//
// The kernel hands over ordinary frames, with complete checksums and no larger than the
// MTU, as the device offers no offload, and accepts nothing else: Send completes
// checksums and segments super-frames (frame.SoftwareOffload).
//
// A TUN device carries IP packets without Ethernet. Recv puts a made-up Ethernet header
// before them, Send removes the header, whatever its addresses. Nothing answers ARP or
// neighbour discovery on a TUN, so the next hop needs a permanent neighbour entry;
// frames that are not IP are refused.
//
// Recv and Send belong to one goroutine; Close and Stats may be called by any.
package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"github.com/songgao/water"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

// Config says which device to open.
type Config struct {
	// Name of the device; an existing persistent one is used, else it is created and
	// exists as long as the port. Empty lets the kernel choose.
	Name string
	// TUN opens a device for IP packets instead of Ethernet frames.
	TUN bool
}

// Port receives what the host sends on the device, and sends what the host then
// receives. Others set up the device and its addresses.
type Port struct {
	dev    *water.Interface
	index  int
	mtu    int
	buf    []byte
	closed atomic.Bool

	ordinary frame.SoftwareOffload

	received, sent, refused atomic.Uint64
}

// Stats counts frames since the port was opened.
type Stats struct {
	Received uint64 // handed out by Recv
	Sent     uint64 // accepted by the device, a super-frame as one
	Refused  uint64 // not accepted
}

// Made-up addresses of a TUN device's two ends (locally administered, IEEE 802
// section 8.2).
var (
	hostMAC     = [6]byte{2, 't', 'u', 'n', 0, 1}
	directorMAC = [6]byte{2, 't', 'u', 'n', 0, 2}
)

// Open opens the device. It needs access to /dev/net/tun and CAP_NET_ADMIN, or a
// persistent device that belongs to the user.
func Open(cfg Config) (*Port, error) {
	c := water.Config{DeviceType: water.TAP}
	if cfg.TUN {
		c.DeviceType = water.TUN
	}
	c.Name = cfg.Name
	dev, err := water.New(c)
	if err != nil {
		return nil, fmt.Errorf("tap: open %s: %w", cfg.Name, err)
	}
	ifi, err := net.InterfaceByName(dev.Name())
	if err != nil {
		_ = dev.Close()
		return nil, fmt.Errorf("tap: find %s: %w", dev.Name(), err)
	}
	return &Port{
		dev: dev, index: ifi.Index, mtu: ifi.MTU,
		buf: make([]byte, frame.Headroom+frame.MaxLen),
	}, nil
}

// Name returns the device's name.
func (p *Port) Name() string { return p.dev.Name() }

// Index returns the device's interface index.
func (p *Port) Index() int { return p.index }

// Recv waits for a frame and makes it fs[0]; there is never a second one. The
// frame is valid until the next Recv. After Close it returns net.ErrClosed. It
// does not allocate.
func (p *Port) Recv(fs []frame.Frame) (int, error) {
	if len(fs) == 0 {
		return 0, nil
	}
	header := 0
	if p.dev.IsTUN() {
		header = frame.EthernetLen
	}
	n, err := p.dev.Read(p.buf[frame.Headroom+header:])
	if p.closed.Load() {
		return 0, net.ErrClosed
	}
	if err != nil {
		return 0, fmt.Errorf("tap: receive on %s: %w", p.Name(), err)
	}
	if header > 0 {
		ethernet(p.buf[frame.Headroom:])
	}
	n += header
	fs[0].Reset(p.buf, frame.Headroom, frame.Headroom+n, n)
	fs[0].Ingress = p.index
	p.received.Add(1)
	return 1, nil
}

// ethernet writes an Ethernet header at the start of b, for the IP packet after it.
func ethernet(b []byte) {
	copy(b, directorMAC[:])
	copy(b[6:], hostMAC[:])
	etherType := uint16(frame.EtherIPv4)
	if b[frame.EthernetLen]>>4 == 6 {
		etherType = frame.EtherIPv6
	}
	binary.BigEndian.PutUint16(b[12:], etherType)
}

// Send sends the frames in order, as ordinary ones, and returns how many the device
// accepted completely. A frame larger than the MTU the device had when it was opened is
// refused. The only error is net.ErrClosed. It does not allocate, except once for the
// buffer in which segments are built.
func (p *Port) Send(fs []frame.Frame) (int, error) {
	sent := 0
	for i := range fs {
		if p.closed.Load() {
			port.Refuse(fs[i:])
			return sent, net.ErrClosed
		}
		if p.sendOne(&fs[i]) {
			sent++
		} else {
			fs[i].Refused = true
		}
	}
	p.sent.Add(uint64(sent))
	p.refused.Add(uint64(len(fs) - sent))
	return sent, nil
}

// tagLen is the room an interface allows for an 802.1Q tag beyond its MTU.
const tagLen = 4

func (p *Port) sendOne(f *frame.Frame) bool {
	b := p.ordinary.First(f)
	if b == nil {
		return false
	}
	for ; b != nil; b = p.ordinary.Next() {
		if len(b) < frame.EthernetLen || len(b) > frame.EthernetLen+tagLen+p.mtu {
			return false
		}
		if p.dev.IsTUN() {
			if !isIP(b) {
				return false
			}
			b = b[frame.EthernetLen:]
		}
		if _, err := p.dev.Write(b); err != nil {
			return false
		}
	}
	return true
}

func isIP(b []byte) bool {
	t := binary.BigEndian.Uint16(b[12:])
	return t == frame.EtherIPv4 || t == frame.EtherIPv6
}

// Stats returns the counters.
func (p *Port) Stats() Stats {
	return Stats{Received: p.received.Load(), Sent: p.sent.Load(), Refused: p.refused.Load()}
}

// Counters returns the counters by the names that `uvs stats` shows.
func (p *Port) Counters() map[string]uint64 {
	s := p.Stats()
	return map[string]uint64{"received": s.Received, "sent": s.Sent, "refused": s.Refused}
}

// Close wakes Recv, which returns net.ErrClosed. A device that is not persistent then
// disappears.
func (p *Port) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	if err := p.dev.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("tap: close %s: %w", p.Name(), err)
	}
	return nil
}
