// Package socket is the director's port on mdlayher/packet alone: one frame for each
// system call, no ring, no option of packet(7). It is slow, some 5 to 7 microseconds of
// CPU time a frame, and easy to read; package afpacket has the same contract and is the
// one to prefer.
//
// Such a socket reports no facts about the frames. Local senders nevertheless leave
// checksums partial and hand over TCP super-frames of up to 64 KiB, so Recv infers both
// from the bytes (frame.InferOffload) and Send makes every frame an ordinary one:
// checksums are completed and super-frames segmented (frame.SoftwareOffload), in
// segments as large as the MTU of the interface on which they arrived. UDP super-frames
// do not say where their datagrams end; they are refused on sending, as is everything
// else that is larger than the MTU.
//
// The filter, a classic BPF program, begins with two tests of our own: frames this host
// sends are not received, nor are frames in a VLAN, whose tag this socket could not
// report.
//
// Recv and Send belong to one goroutine; Close, SetFilter and Stats to any.
package socket

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

// etherAll receives frames of every EtherType (ETH_P_ALL in linux/if_ether.h).
const etherAll = 0x0003

// Port receives and sends frames on one interface.
type Port struct {
	ifi    net.Interface
	conn   *packet.Conn
	to     *packet.Addr // required by the library, ignored by a raw socket
	buf    []byte
	closed atomic.Bool

	parser   frame.Parser
	ordinary frame.SoftwareOffload

	received, sent, refused atomic.Uint64

	statsMu sync.Mutex
	drops   uint64
}

// Stats counts frames since the port was opened.
type Stats struct {
	Received uint64 // handed out by Recv
	Drops    uint64 // lost by the kernel because the receive buffer was full
	Sent     uint64 // accepted by the kernel, a super-frame as one
	Refused  uint64 // not accepted
}

// Open returns a port on an interface that receives what the filter admits, nil
// for everything. It needs CAP_NET_RAW.
func Open(ifi *net.Interface, filter []bpf.RawInstruction) (*Port, error) {
	prog, err := guarded(filter)
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(ifi, packet.Raw, etherAll, &packet.Config{Filter: prog})
	if err != nil {
		return nil, fmt.Errorf("socket: open %s: %w", ifi.Name, err)
	}
	setUp(conn)
	return &Port{
		ifi: *ifi, conn: conn, to: &packet.Addr{HardwareAddr: make(net.HardwareAddr, 6)},
		buf: make([]byte, frame.Headroom+frame.MaxLen),
	}, nil
}

// setUp asks for a receive buffer of 4 MiB instead of the usual 208 KiB, which three
// super-frames fill, and marks what is sent. It accepts whatever the kernel grants.
func setUp(conn *packet.Conn) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<20)
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, frame.OwnMark)
		})
	}
}

// Name returns the interface's name at the time the port was opened.
func (p *Port) Name() string { return p.ifi.Name }

// Index returns the interface's index.
func (p *Port) Index() int { return p.ifi.Index }

// Recv waits for a frame and makes it fs[0]; there is never a second one. The
// frame is valid until the next Recv. After Close it returns net.ErrClosed.
func (p *Port) Recv(fs []frame.Frame) (int, error) {
	if len(fs) == 0 {
		return 0, nil
	}
	for {
		n, _, err := p.conn.ReadFrom(p.buf[frame.Headroom:])
		switch {
		case p.closed.Load():
			return 0, net.ErrClosed
		case err == nil:
			p.describe(&fs[0], n)
			return 1, nil
		case !passing(err):
			return 0, fmt.Errorf("socket: receive on %s: %w", p.ifi.Name, err)
		}
	}
}

// describe fills in f with the n bytes received and the facts inferred from them.
func (p *Port) describe(f *frame.Frame, n int) {
	f.Reset(p.buf, frame.Headroom, frame.Headroom+n, n)
	f.Ingress = p.ifi.Index
	if p.parser.Parse(f) == frame.Continue {
		f.InferOffload(p.ifi.MTU)
	}
	p.received.Add(1)
}

// Send sends the frames in order, as ordinary ones, and returns how many the kernel
// accepted completely. A frame it refuses is skipped and counted. The only error is
// net.ErrClosed.
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

func (p *Port) sendOne(f *frame.Frame) bool {
	b := p.ordinary.First(f)
	if b == nil {
		return false
	}
	for ; b != nil; b = p.ordinary.Next() {
		if _, err := p.conn.WriteTo(b, p.to); err != nil {
			return false
		}
	}
	return true
}

// SetFilter replaces the filter; nil admits everything. After Close it returns
// net.ErrClosed.
func (p *Port) SetFilter(filter []bpf.RawInstruction) error {
	prog, err := guarded(filter)
	if err == nil {
		err = p.conn.SetBPF(prog)
	}
	if err != nil && p.closed.Load() {
		return net.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("socket: filter of %d instructions on %s: %w", len(prog), p.ifi.Name, err)
	}
	return nil
}

// Stats returns the counters.
func (p *Port) Stats() Stats {
	p.statsMu.Lock()
	defer p.statsMu.Unlock()
	if s, err := p.conn.Stats(); err == nil { // reading resets the kernel's counter
		p.drops += uint64(s.Drops)
	}
	return Stats{Received: p.received.Load(), Drops: p.drops, Sent: p.sent.Load(), Refused: p.refused.Load()}
}

// Counters returns the counters by the names that `uvs stats` shows.
func (p *Port) Counters() map[string]uint64 {
	s := p.Stats()
	return map[string]uint64{"received": s.Received, "sent": s.Sent, "refused": s.Refused, "ring-drops": s.Drops}
}

// Close wakes Recv, which returns net.ErrClosed.
func (p *Port) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	_ = p.Stats()
	return p.conn.Close()
}
