package forwarder

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/porttest"
)

// floodRules are services by NAT and FULLNAT, TCP and UDP.
const floodRules = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m
-A -u 10.2.0.1:80 -s rr
-a -u 10.2.0.1:80 -r 10.1.0.1:80 -m
-A -t 10.2.0.3:80 -s rr
-a -t 10.2.0.3:80 -r 10.1.0.3:80 --fullnat
-A -u 10.2.0.3:80 -s rr
-a -u 10.2.0.3:80 -r 10.1.0.3:80 --fullnat`

// attack makes frames that an attacker sends, with random contents.
type attack struct{ *rand.Rand }

func (a attack) host() string {
	return netip.AddrFrom4([4]byte{172, byte(16 + a.IntN(16)), byte(a.Uint32()), byte(1 + a.IntN(254))}).String()
}

func (a attack) source() string { return fmt.Sprintf("%s:%d", a.host(), 1024+a.IntN(60000)) }

func (a attack) syn(to string) []byte {
	return onLink(1, frametest.Packet{Src: a.source(), Dst: to, Transport: frametest.TCP(frame.FlagSYN, a.Uint32(), 0)})
}

func (a attack) ack(to string) []byte {
	return onLink(1, frametest.Packet{Src: a.source(), Dst: to, Transport: frametest.TCP(frame.FlagACK, a.Uint32(), a.Uint32())})
}

func (a attack) datagram(to string) []byte {
	return onLink(1, frametest.Packet{Src: a.source(), Dst: to, Transport: &layers.UDP{}, Data: "x"})
}

func (a attack) fragment(to string) []byte {
	return onLink(1, frametest.Packet{Src: a.host(), Dst: to, ID: uint16(a.Uint32()), MoreFragments: true,
		Offset: 8 * a.IntN(100), Proto: layers.IPProtocolUDP, Data: string(make([]byte, 512))})
}

// forged is an ICMP error about a packet that the service never sent.
func (a attack) forged(of string) []byte {
	inner := frametest.Packet{Src: of, Dst: a.source(), Transport: frametest.TCP(frame.FlagACK, a.Uint32(), a.Uint32())}.Bytes()
	to, _ := netip.ParseAddrPort(of)
	return icmp(1, a.host(), to.Addr().String(), 3, 4, 600, string(inner))
}

// floodsOf are the attacks on a virtual address.
func floodsOf(vip string) map[string]func(a attack) []byte {
	service := vip + ":80"
	return map[string]func(a attack) []byte{
		"SYN":                  func(a attack) []byte { return a.syn(service) },
		"ACK":                  func(a attack) []byte { return a.ack(service) },
		"UDP to the service":   func(a attack) []byte { return a.datagram(service) },
		"UDP to all its ports": func(a attack) []byte { return a.datagram(fmt.Sprintf("%s:%d", vip, 1+a.IntN(65535))) },
		"fragments":            func(a attack) []byte { return a.fragment(vip) },
		"forged ICMP":          func(a attack) []byte { return a.forged(service) },
	}
}

// TestFloodsLeaveEstablishedConnectionsAlone and stay within the memory that is configured.
func TestFloodsLeaveEstablishedConnectionsAlone(t *testing.T) {
	const frames, rounds, table = 2048, 3, 1024
	for _, vip := range []string{"10.2.0.1", "10.2.0.3"} {
		for name, flood := range floodsOf(vip) {
			sent := attack{rand.New(rand.NewPCG(1, 2))}.made(flood, frames)
			for _, proxy := range []string{"off", "on"} {
				if proxy == "on" && name != "SYN" && name != "ACK" {
					continue
				}
				t.Run(vip+"/SYN proxy "+proxy+"/"+name, func(t *testing.T) {
					b := newTestbedOf(t, floodRules+"\nsynproxy -t 10.2.0.1:80 on\nsynproxy -t 10.2.0.3:80 on", table)
					d := b.connect("172.16.0.9:4000", vip+":80")
					b.apply("synproxy -t " + vip + ":80 " + proxy)
					b.flood(sent)
					before := heap()
					for range rounds {
						b.flood(sent)
					}
					if after := heap(); after > before+4<<20 {
						t.Errorf("memory grew from %d KiB to %d", before>>10, after>>10)
					}
					up := d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "up")
					down := d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 1, Ack: clientISN + 3}, "down")
					if len(up) != 1 || len(down) != 1 || string(up[0].Payload) != "up" || string(down[0].Payload) != "down" {
						t.Errorf("out came %v and %v", up, down)
					}
					b.fairAccounts()
				})
			}
		}
	}
}

// made returns n frames of an attack.
func (a attack) made(frames func(attack) []byte, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = frames(a)
	}
	return all
}

// flood has the client's side receive frames; what comes out is nobody's.
func (b *testbed) flood(frames [][]byte) {
	w := b.workers[1]
	for batch := range slices.Chunk(frames, batchSize) {
		b.mem.far[1].Inject(batch...)
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
		b.mem.far[1].Collect()
		b.mem.far[2].Collect()
	}
}

// fairAccounts checks that every frame has ended once, or waits.
func (b *testbed) fairAccounts() {
	b.t.Helper()
	for _, a := range b.fw.Accounts() {
		if a.Difference != 0 {
			b.t.Errorf("%s: %d frames are missing", a.Port, a.Difference)
		}
	}
}

func TestAFloodAllocatesNothing(t *testing.T) {
	for name, flood := range floodsOf("10.2.0.1") {
		b := newTestbedOf(t, floodRules, 1024)
		sent := attack{rand.New(rand.NewPCG(1, 2))}.made(flood, batchSize)
		w := b.workers[1]
		round := func() {
			b.mem.far[1].Inject(sent...)
			n, _ := w.port.Recv(w.in[:])
			w.batch(w.in[:n])
		}
		for range porttest.Capacity/batchSize + 1 { // until the far ends are full and take no more memory
			round()
		}
		if n := testing.AllocsPerRun(20, round); n > 2 {
			t.Errorf("%s: %v allocations for %d frames", name, n, batchSize)
		}
	}
}

// TestNewConnectionsGetThroughAFloodOfSYNs that has filled the table: by each of the ways
// there are.
func TestNewConnectionsGetThroughAFloodOfSYNs(t *testing.T) {
	const table, second = 2048, 160 // SYNs of the flood: drop_entry removes 64 connections
	flood := attack{rand.New(rand.NewPCG(1, 2))}.made(floodsOf("10.2.0.1")["SYN"], 2*table+20*second)
	for _, c := range []struct {
		name    string
		prepare string
		sysctls map[string]int
		least   int // of 100 that get through while the flood goes on
	}{
		{"nothing helps", "", nil, 0},
		{"SYN proxy", "synproxy -t 10.2.0.1:80 on", nil, 100},
		{"drop_entry", "", map[string]int{"drop_entry": 3}, 15},
		{"secure_tcp and drop_entry", "", map[string]int{"drop_entry": 3, "secure_tcp": 3}, 15},
		{"drop_entry and drop_packet", "", map[string]int{"drop_entry": 3, "drop_packet": 3, "am_droprate": 2}, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newTestbedOf(t, floodRules, table)
				if c.prepare != "" {
					b.apply(c.prepare)
				}
				for name, value := range c.sysctls {
					b.sysctl(name, value)
				}
				b.fw.defend()
				next := 2 * table
				b.flood(flood[:next])
				var dropper conntrack.Dropper
				through := 0
				for i := range 100 {
					if i%5 == 0 {
						b.pass(time.Second)
						b.fw.defend()
						b.fw.dropEntries(&dropper, b.drainer.reader)
					}
					b.flood(flood[next : next+second/5])
					next += second / 5
					if b.greeted(fmt.Sprintf("172.16.0.9:%d", 4000+i), "10.2.0.1:80") {
						through++
					}
				}
				if through < c.least || c.least == 0 && through > 5 {
					t.Errorf("%d of 100 get through, want at least %d", through, c.least)
				}
				if n := b.fw.conns.Len(); n > table {
					t.Errorf("%d connections, at most %d", n, table)
				}
				b.fairAccounts()
				t.Logf("%d of 100 get through", through)
			})
		})
	}
}

// greeted reports whether a client gets the answer to its SYN, and then the server its
// own.
func (b *testbed) greeted(client, virtual string) bool {
	got := b.say(1, client, virtual, layers.TCP{SYN: true, Seq: clientISN, Options: synOptions(500, 0)}, "")
	if len(got) == 0 || got[0].link == 2 {
		return len(got) == 1
	}
	d := &dialogue{b: b, client: client, virtual: virtual, cookie: got[0].Seq}
	d.its, _ = got[0].stamps()
	got = d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "")
	if len(got) != 1 || !got[0].SYN || got[0].link != 2 {
		return false
	}
	d.near, d.server = got[0].src, got[0].dst
	d.accept()
	return true
}

// BenchmarkFlood is the work for a frame of each attack, beside that for a frame of an
// established connection, without what the kernel does for both. Run it with
// -benchtime=131072x: then no source comes twice.
func BenchmarkFlood(b *testing.B) {
	const sources = 1 << 17
	run := func(name, proxy string, table int, full bool, flood func(attack) []byte) {
		b.Run(name, func(b *testing.B) {
			bed := newTestbedOf(b, floodRules+"\nsynproxy -t 10.2.0.1:80 on", table)
			d := bed.connect("172.16.0.9:4000", "10.2.0.1:80")
			bed.apply("synproxy -t 10.2.0.1:80 " + proxy)
			frames := slices.Repeat([][]byte{bed.segment(1, d.client, d.virtual, layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "")}, sources)
			if flood != nil {
				frames = attack{rand.New(rand.NewPCG(1, 2))}.made(flood, sources)
			}
			if full {
				bed.flood(attack{rand.New(rand.NewPCG(3, 4))}.made(flood, 2*table))
			}
			w, at := bed.workers[1], 0
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += batchSize {
				b.StopTimer()
				bed.mem.far[1].Inject(frames[at : at+batchSize]...)
				at = (at + batchSize) % len(frames)
				n, _ := w.port.Recv(w.in[:])
				b.StartTimer()
				w.batch(w.in[:n])
			}
		})
	}
	attacks := floodsOf("10.2.0.1")
	run("established", "off", sources, false, nil)
	run("SYN, SYN proxy", "on", sources, false, attacks["SYN"])
	run("SYN, table full", "off", 1<<12, true, attacks["SYN"])
	for name, flood := range attacks {
		run(name, "off", 2*sources, false, flood)
	}
}
