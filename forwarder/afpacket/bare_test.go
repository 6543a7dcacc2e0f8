package afpacket

import (
	"bytes"
	"testing"

	"github.com/songgao/water"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/nstest"
)

// An interface without Ethernet takes and brings bare IP packets; the port's
// frames have an Ethernet header all the same.
func TestFramesOfAnInterfaceWithoutEthernet(t *testing.T) {
	nstest.Need(t)
	dev, err := water.New(water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: "bare"}})
	if err != nil {
		t.Skipf("no TUN device here: %v", err)
	}
	defer dev.Close()
	nstest.Up(t, "bare")
	index := byName(t, "bare").Index
	for _, profile := range []Profile{Latency, Throughput} {
		p, err := Open(Config{Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		want := conform.UDP(7, 100)
		if _, err := dev.Write(want[frame.EthernetLen:]); err != nil {
			t.Fatal(err)
		}
		fs := make([]frame.Frame, 4)
		n, err := (one{p, index}).Recv(fs)
		for err == nil && fs[0].Ethernet()[12] != 0x08 { // the kernel's own IPv6
			n, err = (one{p, index}).Recv(fs)
		}
		if n != 1 || err != nil || !bytes.Equal(fs[0].Bytes()[12:], want[12:]) {
			t.Fatalf("%v: Recv = %d, %v: %x, want the packet behind an Ethernet header", profile, n, err, fs[0].Bytes())
		}
		if n, err := (one{p, index}).Send(fs[:1]); n != 1 || err != nil {
			t.Fatalf("Send = %d, %v", n, err)
		}
		got := make([]byte, 2000)
		for {
			n, err := dev.Read(got)
			if err != nil {
				t.Fatal(err)
			}
			if got[0]>>4 != 4 {
				continue
			}
			if !bytes.Equal(got[:n], want[frame.EthernetLen:]) {
				t.Fatalf("%x on the wire, want the bare packet", got[:n])
			}
			break
		}
	}
}
