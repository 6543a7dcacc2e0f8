package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/sched"
)

func Example() {
	main()
	// Output:
	// 192.0.2.6:50000 went to 10.1.0.2:8080 with DSCP 46
	//   hrw: highest weight / -ln(u), u = hash(192.0.2.6, server)
	//     10.1.0.1:8080  1 / -ln(0.184) = 0.59
	//     10.1.0.2:8080  2 / -ln(0.315) = 1.73  chosen
	//     10.1.0.3:8080  0 / -ln(0.726) = 0.00  left out: weight 0
	//   192.0.2.6:50000 gets the answer from 203.0.113.80:80
	// 192.0.2.7:50000 went to 10.1.0.1:8080 with DSCP 0
	//   hrw: highest weight / -ln(u), u = hash(192.0.2.7, server)
	//     10.1.0.1:8080  1 / -ln(0.546) = 1.65  chosen
	//     10.1.0.2:8080  2 / -ln(0.183) = 1.18
	//     10.1.0.3:8080  0 / -ln(0.375) = 0.00  left out: weight 0
	//   192.0.2.7:50000 gets the answer from 203.0.113.80:80
	// 192.0.2.8:50000 went to 10.1.0.2:8080 with DSCP 46
	//   hrw: highest weight / -ln(u), u = hash(192.0.2.8, server)
	//     10.1.0.1:8080  1 / -ln(0.297) = 0.82
	//     10.1.0.2:8080  2 / -ln(0.897) = 18.31  chosen
	//     10.1.0.3:8080  0 / -ln(0.407) = 0.00  left out: weight 0
	//   192.0.2.8:50000 gets the answer from 203.0.113.80:80
}

// What this program uses of uvs, one in another module can use too.
func TestTheExampleBuildsInAModuleOfItsOwn(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	uvs, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(uvs, "vendor")); err == nil {
		t.Skip("needs the module cache: another module cannot use this one's vendor folder")
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range append(files, "../../go.sum") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			write(t, filepath.Join(dir, filepath.Base(name)), text)
		}
	}
	write(t, filepath.Join(dir, "go.mod"), fmt.Appendf(nil, "module example.org/elsewhere\n\ngo 1.26\n\nrequire uvs v0.0.0\n\nreplace uvs => %s\n", uvs))
	build := exec.Command("go", "build", "-mod=mod", "-o", os.DevNull, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOPROXY=off", "GOWORK=off", "GOTOOLCHAIN=local") // all it needs is here
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	conform.Run(t, func(t *testing.T) conform.Rig {
		n, err := newNetwork()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.close)
		near, far := newUDPPort(n.near[0]), newUDPPort(n.far[0])
		return conform.Rig{Port: near, Wire: wire{t, far}, Index: near.Index, MTU: near.MTU,
			Allocs: true} // nobody reads the wire of the test of allocations, and its buffer is small
	})
}

// wire is the far end of a cable.
type wire struct {
	t *testing.T
	*udpPort
}

func (w wire) InjectFrames(frames ...porttest.Frame) {
	for _, f := range frames {
		fs := make([]frame.Frame, 1)
		fs[0].Reset(slices.Clone(f.Bytes), 0, len(f.Bytes), len(f.Bytes))
		fs[0].Offload = f.Offload
		if _, err := w.Send(fs); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w wire) Wait(n int) []porttest.Frame {
	_ = w.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var all []porttest.Frame
	fs := make([]frame.Frame, 1)
	for len(all) < n {
		if _, err := w.Recv(fs); err != nil {
			break
		}
		all = append(all, porttest.Frame{Bytes: slices.Clone(fs[0].Bytes()), Offload: fs[0].Offload})
	}
	return all
}

// newHRW returns the scheduler by its registered name, with servers of these weights.
func newHRW(t *testing.T, weights ...int32) (sched.Scheduler, []*sched.RealServer) {
	t.Helper()
	s, err := sched.New("hrw", 0)
	if err != nil {
		t.Fatal(err)
	}
	var servers []*sched.RealServer
	for i, w := range weights {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}), 80)
		servers = append(servers, sched.NewRealServer(sched.ID(i+1), at, w, 0, 0))
		s.Add(servers[i])
	}
	return s, servers
}

// pickAll returns which server each of many clients gets.
func pickAll(s sched.Scheduler) []*sched.RealServer {
	picks := make([]*sched.RealServer, 10000)
	for i := range picks {
		var f frame.Flow
		f.SetSrc(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}))
		picks[i] = s.Pick(&f, nil)
	}
	return picks
}

func TestAServersShareOfTheClientsIsThatOfItsWeight(t *testing.T) {
	s, servers := newHRW(t, 1, 3, 0)
	count := map[*sched.RealServer]int{}
	for _, p := range pickAll(s) {
		count[p]++
	}
	if n := count[servers[1]]; n < 7300 || n > 7700 || count[servers[2]] != 0 || count[nil] != 0 {
		t.Errorf("shares %d, %d, %d of 10000; want 2500, 7500, 0", count[servers[0]], n, count[servers[2]])
	}
}

func TestOnlyTheClientsOfARemovedServerMove(t *testing.T) {
	s, servers := newHRW(t, 1, 1, 2, 5)
	before := pickAll(s)
	s.Remove(servers[2])
	for i, p := range pickAll(s) {
		if before[i] != servers[2] && p != before[i] || p == servers[2] {
			t.Fatalf("client %d moved from %v to %v", i, before[i].Addr, p.Addr)
		}
	}
}

func TestAPickDoesNotAllocate(t *testing.T) {
	s, _ := newHRW(t, 1, 2, 3)
	var f frame.Flow
	f.SetSrc(netip.MustParseAddr("192.0.2.1"))
	if n := testing.AllocsPerRun(100, func() { s.Pick(&f, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMarkedSetsTheClassAloneAndKeepsECN(t *testing.T) {
	payload := gopacket.Payload("text")
	udp := &layers.UDP{SrcPort: 50000, DstPort: 53}
	for _, tt := range []struct {
		name   string
		ip     gopacket.NetworkLayer
		ether  layers.EthernetType
		server string
		want   []byte // the first bytes of the header
	}{
		{"IPv4", &layers.IPv4{Version: 4, TTL: 64, TOS: 1, Protocol: layers.IPProtocolUDP, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{203, 0, 113, 80}},
			layers.EthernetTypeIPv4, "10.1.0.1", []byte{0x45, 46<<2 | 1}},
		{"IPv6", &layers.IPv6{Version: 6, HopLimit: 64, TrafficClass: 1, FlowLabel: 0xabcde, NextHeader: layers.IPProtocolUDP,
			SrcIP: netip.MustParseAddr("2001:db8::1").AsSlice(), DstIP: netip.MustParseAddr("2001:db8::80").AsSlice()},
			layers.EthernetTypeIPv6, "fd00::1", []byte{0x6b, 0x9a, 0xbc, 0xde}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ether := &layers.Ethernet{SrcMAC: router[:], DstMAC: clientLink.MAC[:], EthernetType: tt.ether}
			f := parse(frametest.Build(t, ether, tt.ip.(gopacket.SerializableLayer), udp, payload))
			f.MTU = 1500
			c := &conntrack.Conn{Real: netip.MustParseAddr(tt.server).As16(), RealPort: 53}
			if v := (markedNAT{}).Request(f, c); v != frame.Forward {
				t.Fatal(v)
			}
			if err := frametest.Check(f.Bytes(), layers.LayerTypeEthernet); err != nil {
				t.Error(err)
			}
			if got := f.L3()[:len(tt.want)]; !bytes.Equal(got, tt.want) {
				t.Errorf("the header begins with %x, want %x", got, tt.want)
			}
		})
	}
}
