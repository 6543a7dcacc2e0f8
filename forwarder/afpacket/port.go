package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

const etherAll = unix.ETH_P_ALL

var (
	acceptAll = []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: 1 << 18}}

	errSendOnly = errors.New("afpacket: port only sends")
)

// Port receives and sends frames on one interface, or on all.
type Port struct {
	name  string
	index int
	vnet  bool // PACKET_VNET_HDR is on: facts accompany the frames

	file *os.File // receives, nil if the port only sends; no poller watches it
	raw  syscall.RawConn
	wake *os.File  // eventfd(2) that ends the wait of Recv
	rx   *receiver // nil if the port only sends
	tx   *transmitter

	closed    atomic.Bool
	releaseIt sync.Once

	statsMu sync.Mutex
	drops   uint64 // of the kernel, added up: reading its counter resets it
}

// newPort returns a port that can send.
func newPort(cfg *Config) (*Port, error) {
	ifi := cfg.Interface
	tx, err := newTransmitter(cfg)
	if err != nil {
		return nil, fmt.Errorf("afpacket: open %s: %w", ifi.Name, err)
	}
	return &Port{name: ifi.Name, index: ifi.Index, vnet: tx.vnet, tx: tx}, nil
}

// listen opens the receiving socket, which receives nothing yet.
func (p *Port) listen(cfg *Config) error {
	conn, err := packet.Listen(cfg.Interface, packet.Raw, etherAll, &packet.Config{Filter: port.RejectAll()})
	if err != nil {
		return err
	}
	if p.file, err = detach(conn); err != nil {
		return err
	}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	p.wake = os.NewFile(uintptr(wake), "wake")
	return err
}

// Name returns the interface's name at the time the port was opened.
func (p *Port) Name() string { return p.name }

// Index returns the interface's index, 0 for all interfaces.
func (p *Port) Index() int { return p.index }

// Offloads reports whether checksum and segmentation facts accompany the frames. If
// not, Recv infers them from the bytes, and Send completes checksums and segments
// super-frames in software.
func (p *Port) Offloads() bool { return p.vnet }

// Recv fills fs with frames that arrived, oldest first, and blocks until there is at
// least one. The frames, which lie in the ring, are valid until the next Recv. After
// Close it returns net.ErrClosed. While the interface is down, or once it is removed,
// nothing arrives: the code that follows the links closes the port (a removal leaves no
// trace on the socket). It does not allocate.
func (p *Port) Recv(fs []frame.Frame) (int, error) {
	if p.rx == nil {
		return 0, errSendOnly
	}
	p.rx.started.Store(true)
	if len(fs) == 0 {
		return 0, nil
	}
	n := 0
	if !p.closed.Load() {
		n = p.rx.recv(fs)
	}
	if p.closed.Load() {
		_ = p.release()
		return 0, net.ErrClosed
	}
	return n, nil
}

// Send sends the frames in order, each with its Offload facts, and returns how many the
// kernel accepted. A port of all interfaces sends each on the interface with index
// Egress, and keeps the order of those sent on the same one. A frame it refuses is
// skipped and counted. The bytes before a frame may be overwritten. The only error is
// net.ErrClosed. It does not allocate.
func (p *Port) Send(fs []frame.Frame) (int, error) {
	sent := p.tx.send(fs)
	if sent < len(fs) && p.closed.Load() {
		return sent, net.ErrClosed
	}
	return sent, nil
}

// SetFilter replaces the filter while the port runs; no frame passes both or neither.
// It may fail with ENOMEM where net.core.optmem_max is small; a shorter program may
// then do. After Close it returns net.ErrClosed.
func (p *Port) SetFilter(filter []bpf.RawInstruction) error {
	if p.file == nil {
		return errSendOnly
	}
	if filter == nil {
		filter = acceptAll
	}
	err := p.control(func(fd int) error { return attach(fd, filter) })
	if err != nil && p.closed.Load() {
		return net.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("afpacket: filter of %d instructions on %s: %w", len(filter), p.name, err)
	}
	return nil
}

// Close wakes Recv, which returns net.ErrClosed. The ring stays mapped and the
// socket open until then, so that the worker may finish with the frames it holds.
func (p *Port) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	err := p.tx.close()
	if p.file == nil {
		return err
	}
	_ = p.kernelDrops() // the last reading of a counter that disappears with the socket
	if p.rx == nil || !p.rx.started.Load() {
		return errors.Join(err, p.release())
	}
	_, _ = p.wake.Write(binary.NativeEndian.AppendUint64(nil, 1)) // fails only if Recv has released the port already
	return err
}

// release frees ring and socket. The mapping is removed first: it holds a reference to
// the socket, whose release takes the kernel some 25 ms, which would make all munmap
// calls of the process wait for each other.
func (p *Port) release() error {
	var err error
	p.releaseIt.Do(func() {
		if p.rx != nil {
			_ = unix.Munmap(p.rx.memory)
		}
		err = errors.Join(p.file.Close(), p.wake.Close())
	})
	return err
}
