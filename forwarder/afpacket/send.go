package afpacket

import (
	"encoding/binary"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

const (
	// batch is how many frames one sendmmsg sends: 16 cost 100 to 350 ns more for each
	// frame, 256 save less than 100 (measured over veth).
	batch = 64
	// sendBuffer is the requested size in bytes; the kernel doubles it. It limits what
	// waits in the queues of a real device.
	sendBuffer = 4 << 20
	// maxWait is how long in milliseconds a Send waits, once, for a device whose queue is
	// full.
	maxWait = 2
)

// transmitter is the sending half of a port. One that is bound to an interface has a
// single socket, the others one for each method.
type transmitter struct {
	cfg   *Config
	bound bool
	vnet  bool // of the first socket
	outs  [txMethods]*txSocket
	msgs  messages

	known    map[int]txMethod // of interfaces by index
	last     int              // interface looked up last
	lastKind txMethod
	lost     int // interface that no longer segments; 0: none

	ordinary frame.SoftwareOffload // used without vnet

	// Arguments and results of write, which is built once.
	write  func(fd uintptr) bool
	method txMethod
	others [txMethods]bool // kinds of frames that write skipped
	fs     []frame.Frame
	at     [batch]int // which of fs each message is
	sent   int
	waited bool
	poll   [1]unix.PollFd

	mu       sync.Mutex // of closed, and of outs while they change
	closed   bool
	counters txCounters
}

// newTransmitter opens a socket that receives nothing.
func newTransmitter(cfg *Config) (*transmitter, error) {
	t := &transmitter{cfg: cfg, bound: cfg.Interface.Index != 0, known: map[int]txMethod{}}
	o, err := openTxSocket(cfg, packet.Raw)
	if err != nil {
		return nil, err
	}
	on, _ := segments(cfg.Interface.Name)
	if !t.bound || on {
		o.setBypass(true)
	}
	t.outs[direct], t.vnet = o, o.vnet
	if !t.bound { // now, so that a later shortage of descriptors stops nothing
		_, _ = t.out(queued), t.out(bare)
	}
	t.write = func(fd uintptr) bool {
		t.run(int(fd))
		return true
	}
	return t, nil
}

// out returns the socket for a method, or nil if it could not be opened and cannot now.
func (t *transmitter) out(k txMethod) *txSocket {
	if t.outs[k] != nil {
		return t.outs[k]
	}
	form := packet.Raw
	if k == bare {
		form = packet.Datagram
	}
	o, err := openTxSocket(t.cfg, form)
	if err != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = o.file.Close()
		return nil
	}
	t.outs[k] = o
	return o
}

// close closes the sockets, which takes the kernel some 25 ms each: nobody waits for it.
func (t *transmitter) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, o := range t.outs {
		if o != nil {
			go o.file.Close()
		}
	}
}

// methodOf returns how a frame is sent. A port of one interface uses one method.
func (t *transmitter) methodOf(f *frame.Frame) txMethod {
	if t.bound {
		return direct
	}
	if f.Egress != t.last {
		k, ok := t.known[f.Egress]
		if !ok {
			k = t.learn(f.Egress)
		}
		t.last, t.lastKind = f.Egress, k
	}
	return t.lastKind
}

// learn asks the kernel, once, what an interface needs. One that no longer exists needs
// nothing. While the kernel cannot be asked, the queueing discipline does what may be
// needed.
func (t *transmitter) learn(index int) txMethod {
	var name string
	var ethernet bool
	err := t.outs[direct].raw.Control(func(fd uintptr) { name, ethernet, _ = describeLinkBy(int(fd), index) })
	if err != nil || name == "" {
		return direct
	}
	k := direct
	if !ethernet {
		k = bare
	} else if on, err := segments(name); err != nil {
		return queued
	} else if !on {
		k = queued
	}
	t.known[index] = k
	return k
}

// send sends all frames and returns how many the kernel accepted.
func (t *transmitter) send(fs []frame.Frame) int {
	if len(fs) == 0 {
		return 0
	}
	t.fs, t.sent, t.waited = fs, 0, false
	t.others = [txMethods]bool{direct: true}
	for t.method = range txMethods {
		if !t.others[t.method] {
			continue
		}
		o := t.out(t.method)
		if o == nil {
			t.refuseMethod(unix.ENOBUFS)
		} else if o.raw.Write(t.write) != nil { // it is closed, which Port.Send checks
			t.refuseMethod(unix.EBADF)
		}
	}
	if t.lost != 0 { // not before: the frames of a link must not change their kind in between
		t.known[t.lost], t.lost, t.last = queued, 0, 0
	}
	t.fs = nil
	t.counters.sent.Add(uint64(t.sent))
	return t.sent
}

// run sends the frames of the present method, and records which others there are.
func (t *transmitter) run(fd int) {
	n, vnet := 0, t.outs[t.method].vnet
	for i := range t.fs {
		f := &t.fs[i]
		if k := t.methodOf(f); k != t.method {
			t.others[k] = t.others[k] || k > t.method
			continue
		}
		if !vnet {
			t.sent += t.sendOrdinary(fd, i)
			continue
		}
		t.load(n, f)
		t.at[n] = i
		if n++; n == batch {
			t.sent += t.flush(fd, n)
			n = 0
		}
	}
	t.sent += t.flush(fd, n)
}

// sendOrdinary sends frame i without facts, as its segments.
func (t *transmitter) sendOrdinary(fd, i int) int {
	f := &t.fs[i]
	b := t.ordinary.First(f)
	if b == nil {
		t.refuse(f, unix.EINVAL)
		return 0
	}
	whole := 1
	t.at[0] = i
	for ; b != nil && whole == 1; b = t.ordinary.Next() {
		protocol := binary.NativeEndian.Uint16(b[12:]) // in network byte order, as it stands there
		if t.method == bare {
			b = b[frame.EthernetLen:]
		}
		t.msgs.setOne(0, b)
		if !t.bound {
			t.msgs.setLink(0, f.Egress, protocol)
		}
		whole = t.flush(fd, 1)
	}
	return whole
}

// load points message i at a frame and writes the virtio header where it
// belongs, directly before the frame.
func (t *transmitter) load(i int, f *frame.Frame) {
	if !t.bound {
		t.msgs.setLink(i, f.Egress, 0)
	}
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

// txOffload returns the frame's facts as the kernel accepts them. The header length is
// a hint of what to keep in one piece; larger than the frame it would be refused
// (packet_snd), and a received one may cover all of the frame.
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

// flush sends the first n messages and returns how many the kernel accepted. sendmmsg
// stops at the first that fails and reports why only if it is called with that one
// first.
func (t *transmitter) flush(fd, n int) int {
	taken := 0
	for i := 0; i < n; {
		sent, errno := t.msgs.send(fd, i, n)
		if errno == 0 {
			taken += sent
			i += sent
			continue
		}
		if t.retries(fd, errno) {
			continue
		}
		if errno == unix.ENOBUFS && t.segmented(fd, i) {
			taken++
			i++
			continue
		}
		t.refuse(&t.fs[t.at[i]], errno)
		i++
	}
	return taken
}

// retries reports whether the same frame may be tried once more.
func (t *transmitter) retries(fd int, errno unix.Errno) bool {
	switch errno {
	case unix.EINTR:
		return true
	case unix.EAGAIN:
		return t.wait(fd)
	}
	return false
}

// segmented sends message i through the queueing discipline if it is a super-frame: its
// device has lost its segmentation, or never had it for such frames. From then on all
// frames of the device are sent like this.
func (t *transmitter) segmented(fd, i int) bool {
	o := t.outs[t.method]
	if !o.vnet || !o.bypass || !t.msgs.isSuper(i) {
		return false
	}
	if t.bound {
		o.setBypass(false)
		n, _ := t.msgs.send(fd, i, i+1)
		return n == 1
	}
	t.lost = t.msgs.link(i)
	q, n := t.out(queued), 0
	if q == nil || !q.vnet {
		return false
	}
	_ = q.raw.Write(func(fd uintptr) bool {
		n, _ = t.msgs.send(int(fd), i, i+1)
		return true
	})
	return n == 1
}

// wait gives a full device queue time to drain, once in a Send: a stuck device must not
// delay the others for long.
func (t *transmitter) wait(fd int) bool {
	if t.waited {
		return false
	}
	t.waited = true
	t.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	_, err := unix.Poll(t.poll[:], maxWait)
	return err == nil
}

// refuseMethod refuses all frames of the present method.
func (t *transmitter) refuseMethod(errno unix.Errno) {
	for i := range t.fs {
		if f := &t.fs[i]; t.methodOf(f) == t.method {
			t.refuse(f, errno)
		}
	}
}

func (t *transmitter) refuse(f *frame.Frame, errno unix.Errno) {
	f.Refused = true
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
