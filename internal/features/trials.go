package features

import (
	"errors"
	"log/slog"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/guard"
)

// withSocket calls f with a packet socket that receives nothing.
func withSocket(f func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return f(fd)
}

func packetSocket() error { return withSocket(func(int) error { return nil }) }

// option returns a trial that sets an option of a packet socket.
func option(name, value int) func(int) error {
	return func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_PACKET, name, value))
	}
}

func packetRing() error {
	return withSocket(func(fd int) error {
		if err := option(unix.PACKET_VERSION, unix.TPACKET_V2)(fd); err != nil {
			return err
		}
		size := uint32(os.Getpagesize())
		return os.NewSyscallError("setsockopt", unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING,
			&unix.TpacketReq{Block_size: size, Block_nr: 1, Frame_size: size, Frame_nr: 1}))
	})
}

func vnetHeader() error { return withSocket(option(unix.PACKET_VNET_HDR, 1)) }

func ignoreOutgoing() error { return withSocket(option(unix.PACKET_IGNORE_OUTGOING, 1)) }

// fanout joins a group, which only a bound socket may.
func fanout() error {
	return withSocket(func(fd int) error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: lo.Attrs().Index}) // ETH_P_ALL
		}
		if err != nil {
			return err
		}
		return option(unix.PACKET_FANOUT, unix.PACKET_FANOUT_HASH<<16|1)(fd)
	})
}

func nftGuard() error {
	g, err := guard.New(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	return g.Leave()
}

func nftHost() error {
	g, err := guard.New(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	defer g.Leave()
	if !g.RedirectsHost() {
		return errors.New("the kernel takes no such rule")
	}
	return nil
}

func veth() error {
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uvs-try0"}, PeerName: "uvs-try1"})
}
