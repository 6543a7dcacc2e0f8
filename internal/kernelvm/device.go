package kernelvm

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is an Ethernet device of the VM (virtio-net).
type Device struct {
	// Netdev is its backend, as in qemu's option -netdev, without an id:
	// "tap,ifname=tap0,script=no,downscript=no" for an existing TAP device of the
	// user's. {fd} stands for the descriptor of File.
	Netdev string
	// File is passed to qemu and closed by Run; a Device with a File is for one run.
	File *os.File
	// MAC is its address in the VM; empty means 52:54:00:00:00:01 for eth0,
	// 52:54:00:00:00:02 for eth1, and so on.
	MAC string
}

// Wire returns a device and the other end of its link. A Write there is one frame to the VM,
// a Read one frame from it, without checksum offload; deadlines work. Frames written before
// the VM's driver is up are lost; a Write blocks while about ten frames are queued. The
// caller closes the connection.
func Wire() (net.Conn, Device, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, Device{}, fmt.Errorf("kernelvm: socketpair: %w", err)
	}
	here, there := os.NewFile(uintptr(fds[0]), "wire"), os.NewFile(uintptr(fds[1]), "wire")
	defer here.Close() // net.FileConn has a copy
	conn, err := net.FileConn(here)
	if err != nil {
		there.Close()
		return nil, Device{}, fmt.Errorf("kernelvm: wire: %w", err)
	}
	return conn, Device{Netdev: "dgram,local.type=fd,local.str={fd}", File: there}, nil
}

// arguments returns the options of qemu for device number n, whose File is the
// descriptor fd there.
func (d Device) arguments(n, fd int) []string {
	id := "net" + strconv.Itoa(n)
	mac := d.MAC
	if mac == "" {
		mac = fmt.Sprintf("52:54:00:00:00:%02x", n+1)
	}
	return []string{
		"-netdev", strings.ReplaceAll(d.Netdev, "{fd}", strconv.Itoa(fd)) + ",id=" + id,
		"-device", "virtio-net-pci,netdev=" + id + ",mac=" + mac,
	}
}
