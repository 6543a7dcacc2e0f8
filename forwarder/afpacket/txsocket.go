package afpacket

import (
	"errors"
	"os"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
	"uvs/internal/ethtool"
)

// txMethod is one of the methods of handing frames to the kernel, each with a socket of its
// own: the options belong to the socket.
type txMethod uint8

const (
	direct txMethod = iota // frames skip the queueing discipline
	queued                 // they pass it, and are segmented where the device cannot
	bare                   // they are sent without their Ethernet header
	txMethods
)

// txSocket is one socket for sending. The network poller does not watch it: for a
// socket that a poller watches, each frame that is sent and done with wakes the
// poller (sock_def_write_space in net/core/sock.c). Without that a 64-byte frame
// costs 1047 ns instead of 1146 through NAT, 1004 instead of 1085 through the null
// forwarder (uvs bench quick, medians of one run).
type txSocket struct {
	file   *os.File
	raw    syscall.RawConn
	vnet   bool // facts accompany the frames
	bypass bool // frames skip the queueing discipline
}

// openTxSocket opens a socket that receives nothing.
func openTxSocket(cfg *Config, form packet.Type) (*txSocket, error) {
	conn, err := packet.Listen(cfg.Interface, form, 0, &packet.Config{Filter: port.RejectAll()})
	if err != nil {
		return nil, err
	}
	o := &txSocket{}
	if o.file, err = detach(conn); err != nil {
		return nil, err
	}
	if o.raw, err = o.file.SyscallConn(); err == nil {
		err = o.raw.Control(func(fd uintptr) { o.setUp(int(fd), cfg, form) })
	}
	if err != nil {
		_ = o.file.Close()
		return nil, err
	}
	return o, nil
}

// detach removes a socket from the network poller: what the poller watches is the first
// descriptor, which is closed. The file is in blocking mode, which keeps it out of the
// poller; every send says MSG_DONTWAIT.
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

// setUp sets the options that sending needs. Datagrams have no accompanying facts
// (packet_setsockopt in net/packet/af_packet.c).
func (o *txSocket) setUp(fd int, cfg *Config, form packet.Type) {
	o.vnet = form == packet.Raw && enableVnetHdr(fd, cfg)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, frame.OwnMark)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
}

var vnetHeader = option{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1}

// enableVnetHdr turns PACKET_VNET_HDR on, and says what it means if that fails.
func enableVnetHdr(fd int, cfg *Config) bool {
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

// segments reports whether the interface accepts super-frames unchanged. One that skips
// the queueing discipline (PACKET_QDISC_BYPASS) is not segmented by the kernel: it
// would be refused.
func segments(name string) (bool, error) {
	on, err := ethtool.Features(name)
	return on["tx-tcp-segmentation"] && on["tx-tcp6-segmentation"], err
}

func (o *txSocket) setBypass(on bool) {
	value := 0
	if on {
		value = 1
	}
	_ = o.raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, value) == nil {
			o.bypass = on
		}
	})
}
