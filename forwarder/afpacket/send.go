package afpacket

import (
	"errors"
	"os"
	"syscall"

	"github.com/mdlayher/packet"
	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

const (
	// batch is how many frames one sendmmsg takes: 16 cost 100 to 350 ns more
	// for each frame, 256 save less than 100 (measured over veth).
	batch = 64
	// sendBuffer in bytes is asked for; the kernel doubles it. It bounds what
	// waits in the queues of a real device.
	sendBuffer = 4 << 20
	// patience is how long in milliseconds a Send waits, once, for a device
	// whose queue is full.
	patience = 2
)

// transmitter is the sending half of a port. Its socket is not the receiving
// one, and the network poller does not watch it: for a socket that a poller
// watches, each frame that is sent and done with wakes the poller
// (sock_def_write_space in net/core/sock.c). Without that a 64-byte frame costs
// 1047 ns instead of 1146 through NAT, 1004 instead of 1085 through the null
// forwarder (uvs bench quick, medians of one run).
type transmitter struct {
	file   *os.File
	raw    syscall.RawConn
	vnet   bool
	bypass bool // frames skip the queueing discipline
	msgs   messages

	ordinary frame.Ordinary // used without vnet

	// Arguments and results of write, which is built once.
	write  func(fd uintptr) bool
	fs     []frame.Frame
	sent   int
	waited bool
	poll   [1]unix.PollFd

	counters txCounters
}

// newTransmitter opens a socket that receives nothing.
func newTransmitter(cfg *Config) (*transmitter, error) {
	conn, err := packet.Listen(cfg.Interface, packet.Raw, 0, &packet.Config{Filter: rejectAll})
	if err != nil {
		return nil, err
	}
	t := &transmitter{}
	if t.file, err = detach(conn); err != nil {
		return nil, err
	}
	if t.raw, err = t.file.SyscallConn(); err == nil {
		err = t.raw.Control(func(fd uintptr) { t.setUp(int(fd), cfg) })
	}
	if err != nil {
		_ = t.file.Close()
		return nil, err
	}
	t.write = func(fd uintptr) bool {
		t.run(int(fd))
		return true
	}
	return t, nil
}

// detach takes a socket out of the network poller: what the poller watches is
// the first descriptor, which is closed. The file is in blocking mode, which
// keeps it out of the poller; every send says MSG_DONTWAIT.
func detach(conn *packet.Conn) (*os.File, error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	cerr := raw.Control(func(watched uintptr) {
		if fd, err = unix.FcntlInt(watched, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, false)
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

// setUp sets the options that sending needs.
func (t *transmitter) setUp(fd int, cfg *Config) {
	t.vnet = addFacts(fd, cfg)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, frame.OwnMark)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	if segments(cfg.Interface.Name) {
		t.setBypass(fd, true)
	}
}

var vnetHeader = option{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1}

// addFacts turns PACKET_VNET_HDR on, and says what it means if that fails.
func addFacts(fd int, cfg *Config) bool {
	err := error(unix.ENOPROTOOPT)
	if !cfg.noOffloads {
		err = vnetHeader.set(fd)
	}
	if err != nil {
		cfg.Logger.Warn("no offload facts: checksums and segments are made in software, slowly",
			"interface", cfg.Interface.Name, "cause", err)
	}
	return err == nil
}

// segments reports whether the interface takes super-frames as they are. One
// that skips the queueing discipline (PACKET_QDISC_BYPASS) is not segmented by
// the kernel: it would be refused.
func segments(name string) bool {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return false
	}
	defer e.Close()
	on, err := readFeatures(e, name)
	return err == nil && on["tx-tcp-segmentation"] && on["tx-tcp6-segmentation"]
}

func (t *transmitter) setBypass(fd int, on bool) {
	value := 0
	if on {
		value = 1
	}
	if unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, value) == nil {
		t.bypass = on
	}
}

// send sends all frames and returns how many the kernel took.
func (t *transmitter) send(fs []frame.Frame) int {
	if len(fs) == 0 {
		return 0
	}
	t.fs, t.sent, t.waited = fs, 0, false
	_ = t.raw.Write(t.write) // fails only if closed, which Port.Send looks at
	t.fs = nil
	t.counters.sent.Add(uint64(t.sent))
	return t.sent
}

func (t *transmitter) run(fd int) {
	for fs := t.fs; len(fs) > 0; {
		n := min(len(fs), batch)
		if t.vnet {
			t.sent += t.runBatch(fd, fs[:n])
		} else {
			t.sent += t.runOrdinary(fd, fs[:n])
		}
		fs = fs[n:]
	}
}

// runBatch sends up to batch frames with their facts.
func (t *transmitter) runBatch(fd int, fs []frame.Frame) int {
	for i := range fs {
		t.load(i, &fs[i])
	}
	return t.flush(fd, len(fs))
}

// runOrdinary sends frames without facts, one at a time.
func (t *transmitter) runOrdinary(fd int, fs []frame.Frame) int {
	sent := 0
	for i := range fs {
		b := t.ordinary.First(&fs[i])
		if b == nil {
			t.refuse(unix.EINVAL)
			continue
		}
		whole := 1
		for ; b != nil && whole == 1; b = t.ordinary.Next() {
			t.msgs.setOne(0, b)
			whole = t.flush(fd, 1)
		}
		sent += whole
	}
	return sent
}

// load points message i at a frame and writes the virtio header where it
// belongs, directly before the frame.
func (t *transmitter) load(i int, f *frame.Frame) {
	buf, start, end := f.Buffer()
	o := txOffload(f)
	if start >= frame.OffloadLen {
		o.Encode(buf[start-frame.OffloadLen : start])
		t.msgs.setOne(i, buf[start-frame.OffloadLen:end])
		return
	}
	o.Encode(t.msgs.header(i))
	t.msgs.setTwo(i, buf[start:end])
}

// txOffload returns the frame's facts as the kernel takes them. The header
// length is a hint of what to keep in one piece; larger than the frame it would
// be refused (packet_snd), and a received one may cover all of the frame.
func txOffload(f *frame.Frame) frame.Offload {
	o := f.Offload
	if !o.Super() {
		o.HeaderLen = 0
		return o
	}
	o.HeaderLen = uint16(min(int(o.HeaderLen), f.Len(), maxHeaderHint))
	return o
}

// maxHeaderHint covers Ethernet, an outer IPv6 header, an inner one with
// extensions and a TCP header with all options.
const maxHeaderHint = 192

// flush sends the first n messages and returns how many the kernel took.
// sendmmsg stops at the first that fails and tells why only if it is asked to
// begin with that one.
func (t *transmitter) flush(fd, n int) int {
	taken := 0
	for i := 0; i < n; {
		sent, errno := t.msgs.send(fd, i, n)
		if errno == 0 {
			taken += sent
			i += sent
			continue
		}
		if t.again(fd, errno, t.vnet && t.msgs.isSuper(i)) {
			continue
		}
		t.refuse(errno)
		i++
	}
	return taken
}

// again reports whether the same frame may be tried once more.
func (t *transmitter) again(fd int, errno unix.Errno, super bool) bool {
	switch errno {
	case unix.EINTR:
		return true
	case unix.EAGAIN:
		return t.wait(fd)
	case unix.ENOBUFS:
		// The device lost its segmentation while we bypass the queueing
		// discipline, or never had it for this kind of super-frame.
		if super && t.bypass {
			t.setBypass(fd, false)
			return !t.bypass
		}
	}
	return false
}

// wait gives a full device queue a moment to drain, once in a Send: a stuck
// device must not hold up the others for long.
func (t *transmitter) wait(fd int) bool {
	if t.waited {
		return false
	}
	t.waited = true
	t.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	_, err := unix.Poll(t.poll[:], patience)
	return err == nil
}

func (t *transmitter) refuse(errno unix.Errno) {
	c := &t.counters
	c.refused.Add(1)
	switch errno {
	case unix.EMSGSIZE:
		c.tooBig.Add(1)
	case unix.ENOBUFS, unix.EAGAIN:
		c.noBuffer.Add(1)
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		c.linkDown.Add(1)
	}
}
