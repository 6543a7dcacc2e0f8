package kernelvm

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/frame"
)

func TestAWireCarriesOneFrameForEachReadAndWrite(t *testing.T) {
	here, device, err := Wire()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	qemu, err := net.FileConn(device.File)
	if err != nil {
		t.Fatal(err)
	}
	defer qemu.Close()
	device.File.Close()
	for _, way := range [][2]net.Conn{{here, qemu}, {qemu, here}} {
		for _, frame := range []string{"the first frame", "a second"} {
			if _, err := way[0].Write([]byte(frame)); err != nil {
				t.Fatal(err)
			}
		}
		b := make([]byte, 1514)
		for _, want := range []string{"the first frame", "a second"} {
			if n, err := way[1].Read(b); err != nil || string(b[:n]) != want {
				t.Errorf("read %q, %v, want %q", b[:n], err, want)
			}
		}
	}
}

func TestADeviceIsToldToQEMU(t *testing.T) {
	for _, c := range []struct {
		name   string
		device Device
		number int
		fd     int
		want   []string
	}{
		{"by descriptor", Device{Netdev: "dgram,local.type=fd,local.str={fd}"}, 0, 5,
			[]string{"-netdev", "dgram,local.type=fd,local.str=5,id=net0", "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01"}},
		{"a TAP device, with an address", Device{Netdev: "tap,ifname=tap0,script=no", MAC: "02:00:00:00:00:09"}, 1, 6,
			[]string{"-netdev", "tap,ifname=tap0,script=no,id=net1", "-device", "virtio-net-pci,netdev=net1,mac=02:00:00:00:00:09"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.device.arguments(c.number, c.fd)); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

// The test is the VM's neighbour, which a program there pings.
func TestAVMAndATestTalkByWire(t *testing.T) {
	Need(t)
	here, device, err := Wire()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	vm := VM{Devices: []Device{device}, Output: &said}
	ended := make(chan error, 1)
	go func() {
		ended <- vm.Run(t.Context(), "sh", "-ec", `
			busybox ip link set eth0 up
			busybox ip addr add 192.0.2.1/24 dev eth0
			busybox arp -s 192.0.2.2 02:00:00:00:00:02
			busybox ping -c 1 -W 60 192.0.2.2`)
		here.Close() // no more frames
	}()
	answered := false
	for b := make([]byte, 1514); ; {
		n, err := here.Read(b)
		if err != nil {
			break
		}
		if echoReply(b[:n]) {
			answered = true
			if _, err := here.Write(b[:n]); err != nil {
				t.Error(err)
			}
		}
	}
	if err := <-ended; err != nil || !answered {
		t.Errorf("answered: %v; %v\n%s", answered, err, &said)
	}
}

// echoReply turns a frame with an ICMP echo request into its reply; false if it
// is none.
func echoReply(b []byte) bool {
	const ip, icmp = frame.EthernetLen, frame.EthernetLen + 20
	if len(b) < icmp+8 || binary.BigEndian.Uint16(b[12:]) != frame.EtherIPv4 || b[ip+9] != frame.ProtoICMP || b[icmp] != 8 {
		return false
	}
	swap := func(a, c []byte) {
		for i := range a {
			a[i], c[i] = c[i], a[i]
		}
	}
	swap(b[:6], b[6:12])
	swap(b[ip+12:ip+16], b[ip+16:ip+20])
	b[icmp] = 0
	sum := b[icmp+2 : icmp+4]
	clear(sum)
	binary.BigEndian.PutUint16(sum, frame.Checksum(b[icmp:]))
	return true
}
