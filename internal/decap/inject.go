package decap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// open returns the injector that via names.
func open(via string) (injector, error) {
	switch via {
	case "lo":
		return openLoopback()
	case "tun":
		return openTUN()
	case "auto", "":
		if t, err := openTUN(); err == nil {
			return t, nil
		}
		return openLoopback()
	}
	return nil, fmt.Errorf("decap: --via %s: it can be auto, tun or lo", via)
}

// loopback sends packets on lo, where they come back as received: the device
// needs no set-up and is there for every user. A hardware address of zeros is
// lo's own.
type loopback struct {
	fd    int
	index int
}

func openLoopback() (*loopback, error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, fmt.Errorf("decap: lo: %w", err)
	}
	if lo.Flags&net.FlagUp == 0 {
		return nil, errors.New("decap: lo is down; set it up with: ip link set lo up")
	}
	// Protocol 0: this socket only sends (packet(7)).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, errors.New("decap: packet sockets need root or CAP_NET_RAW")
	}
	if err != nil {
		return nil, fmt.Errorf("decap: packet socket: %w", err)
	}
	return &loopback{fd: fd, index: lo.Index}, nil
}

func (l *loopback) inject(packet []byte) error {
	to := unix.SockaddrLinklayer{Protocol: etherType(packet), Ifindex: l.index, Halen: 6}
	return unix.Sendto(l.fd, packet, 0, &to)
}

func (l *loopback) Close() error { return unix.Close(l.fd) }

// etherType returns the protocol of a packet in network byte order.
func etherType(packet []byte) uint16 {
	if packet[0]>>4 == 6 {
		return binary.NativeEndian.Uint16([]byte{0x86, 0xdd})
	}
	return binary.NativeEndian.Uint16([]byte{0x08, 0x00})
}

// tun hands packets on through a TUN device, which the kernel removes when it
// is closed.
type tun struct{ *water.Interface }

func openTUN() (*tun, error) {
	dev, err := water.New(water.Config{DeviceType: water.TUN})
	if err != nil {
		return nil, fmt.Errorf("decap: TUN device: %w", err)
	}
	// All of the host's parameters but this one are right as they are.
	err = os.WriteFile("/proc/sys/net/ipv4/conf/"+dev.Name()+"/rp_filter", []byte("0"), 0)
	if err == nil {
		err = up(dev.Name())
	}
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("decap: %s: %w", dev.Name(), err)
	}
	return &tun{dev}, nil
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func (t *tun) inject(packet []byte) error {
	_, err := t.Write(packet)
	return err
}
