package decap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
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

// loopback sends packets on lo, which receives them again: the device needs no set-up, and
// every user has it. lo's hardware address is all zeros.
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

func (l *loopback) inject(packets [][]byte) (failed int) {
	for _, p := range packets {
		p = p[room:]
		to := unix.SockaddrLinklayer{Protocol: etherType(p), Ifindex: l.index, Halen: 6}
		if unix.Sendto(l.fd, p, 0, &to) != nil {
			failed++
		}
	}
	return failed
}

func (l *loopback) Close() error { return unix.Close(l.fd) }

// etherType returns the protocol of a packet in network byte order.
func etherType(packet []byte) uint16 {
	if packet[0]>>4 == 6 {
		return binary.NativeEndian.Uint16([]byte{0x86, 0xdd})
	}
	return binary.NativeEndian.Uint16([]byte{0x08, 0x00})
}

// device injects packets through a TUN device, which the kernel removes when it is closed.
// Consecutive segments of one TCP connection enter the stack as one, with a virtio header.
// A bulk transfer by TUN then takes 1.4 seconds of our CPU time a GB instead of 2.4, and
// ran at 1.68 Gbit/s instead of 1.33 (iperf3 in a lab, medians of three alternating runs
// on a busy machine).
type device struct{ tun.Device }

// deviceMTU does not limit what enters the stack.
const deviceMTU = 1500

func openTUN() (*device, error) {
	dev, err := tun.CreateTUN("tun%d", deviceMTU)
	if err != nil {
		return nil, fmt.Errorf("decap: TUN device: %w", err)
	}
	go drain(dev.Events())
	name, err := dev.Name()
	// All of the host's parameters but this one are right as they are.
	if err == nil {
		err = os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("0"), 0)
	}
	if err == nil {
		err = up(name)
	}
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("decap: %s: %w", name, err)
	}
	return &device{dev}, nil
}

// drain discards the device's events until it is closed.
func drain(events <-chan tun.Event) {
	for range events {
	}
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// inject writes all packets and returns how many writes failed.
func (d *device) inject(packets [][]byte) (failed int) {
	_, err := d.Write(packets, room)
	if err == nil {
		return 0
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return min(len(all.Unwrap()), len(packets))
	}
	return len(packets)
}
