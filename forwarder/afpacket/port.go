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

	file  *os.File // receives, nil if the port only sends; no poller watches it
	raw   syscall.RawConn
	wake  *os.File  // eventfd(2) that ends the wait of Recv
	shape shape     // of the ring
	rx    *receiver // nil if the port only sends
	tx    *transmitter

	before []*formerRing // read to their end first
	left   bool          // the worker is done

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
	file, err := detach(conn)
	if err != nil {
		return err
	}
	return p.useSocket(file)
}

// useSocket makes a socket, which is the port's from now on, the one that receives.
func (p *Port) useSocket(file *os.File) (err error) {
	p.file = file
	if p.raw, err = file.SyscallConn(); err != nil {
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
	if !p.rx.claim(worker) {
		return 0, net.ErrClosed
	}
	if len(fs) == 0 {
		return 0, nil
	}
	if p.closed.Load() {
		return 0, p.leave()
	}
	if len(p.before) > 0 {
		if n := p.readBefore(fs); n > 0 {
			return n, nil
		}
	}
	n := p.rx.recv(fs)
	if n == 0 && p.closed.Load() {
		return 0, p.leave()
	}
	return n, nil
}

// Send sends the frames in order, each with its Offload facts, and returns how many the
// kernel accepted. A port of all interfaces sends each on the interface with index
// Egress, and keeps the order of those sent on the same one. A frame it refuses is
// skipped and counted. The bytes before a frame may be overwritten. The only error is
// net.ErrClosed. It does not allocate.
func (p *Port) Send(fs []frame.Frame) (int, error) {
	if p.closed.Load() && (p.rx == nil || p.rx.owner.Load() != worker || p.left) {
		return 0, net.ErrClosed
	}
	return p.tx.send(fs), nil
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

// Close wakes Recv, which returns net.ErrClosed. The sockets stay open and the ring mapped
// until then, so that the worker may finish with the frames it holds and send them.
func (p *Port) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	if p.file == nil {
		p.tx.close()
		return nil
	}
	_ = p.kernelDrops() // the last reading of a counter that disappears with the socket
	if p.rx == nil || p.rx.claim(closer) {
		return p.release()
	}
	_, _ = p.wake.Write(binary.NativeEndian.AppendUint64(nil, 1)) // fails only if Recv has released the port already
	return nil
}

// leave ends the port for the worker that is done with all frames it was lent. Whoever reads
// on in the ring begins with the next.
func (p *Port) leave() error {
	if !p.left {
		p.left = true
		p.rx.ring.giveBack()
		_ = p.release()
	}
	return net.ErrClosed
}

// release frees ring and socket. The mapping is removed first: it holds a reference to
// the socket, whose release takes the kernel some 25 ms, which would make all munmap
// calls of the process wait for each other.
func (p *Port) release() error {
	for _, o := range p.before {
		o.end()
	}
	p.before = nil
	var err error
	p.releaseIt.Do(func() {
		err = p.closeReceive()
		p.tx.close()
	})
	return err
}

func (p *Port) closeReceive() error {
	if p.rx != nil {
		_ = unix.Munmap(p.rx.memory)
	}
	return errors.Join(p.file.Close(), p.wake.Close())
}
