package forwarder

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"uvs/forwarder/connsync"
)

// crafted gives both the same datagrams, many of them damaged: what one takes the other
// takes. The VM may lose some of many: those are given again.
func (k *kernelPeer) crafted(t *testing.T) {
	k.t = t
	b := kernelBed(t, k)
	k.run("ipvsadm --start-daemon backup --mcast-interface eth0 --syncid 7")
	b.ipvsadm("--start-daemon backup --mcast-interface s --syncid 7")
	rng := rand.New(rand.NewPCG(1, 2))
	var crafted [][]byte
	for i := range 200 {
		crafted = append(crafted, craftedDatagram(rng, uint16(10000+4*i)))
	}
	var diff string
	for range 3 {
		for i, d := range crafted {
			k.give(d)
			if i%20 == 19 {
				k.list() // meanwhile the kernel takes them
			}
		}
		if diff = k.differ(b, 100, ""); diff == "" {
			break
		}
	}
	if diff != "" {
		t.Errorf("of crafted datagrams (-kernel +director): %s", diff)
	}
	k.run("ipvsadm --stop-daemon backup")
}

// craftedDatagram returns one of up to three entries, one of whose bytes is any in most.
// Its timeout and method stay valid: the first is not compared, and of methods that do not
// exist the kernel keeps entries.
func craftedDatagram(rng *rand.Rand, client uint16) []byte {
	w := connsync.Writer{Version: 1, SyncID: 7, MaxLen: 1472}
	for i := range 1 + rng.IntN(3) {
		e := connsync.Entry{Proto: 6, State: uint16(1 + rng.IntN(10)), Timeout: 1000, ClientPort: client + uint16(i), VirtualPort: 80, RealPort: 8080,
			Flags:  []uint32{0, 0, 0x100, 0x1000, 0x1100, 2, 3, 0x80, 0x600}[rng.IntN(9)],
			Client: netip.AddrFrom4([4]byte{172, 16, 1, byte(rng.Uint32())}).As16(), Virtual: netip.MustParseAddr("10.2.0.1").As16(),
			Real: netip.AddrFrom4([4]byte{10, 1, 0, byte(1 + rng.IntN(3))}).As16()}
		entry := e.Append(nil, 1)
		switch rng.IntN(5) {
		case 0:
			entry = append(entry, byte(rng.IntN(128)), 2, 'a', 'b')
			entry[3] += 4
		case 1:
			at := []int{0, 1, 2, 3, 8, 9}[rng.IntN(6)]
			entry[at] = byte(rng.Uint32())
		}
		w.Add(entry)
	}
	d := w.Datagram()
	if rng.IntN(8) == 0 {
		d[[]int{0, 1, 2, 3, 4, 5, 6, 7}[rng.IntN(8)]] = byte(rng.Uint32())
	}
	return d
}

// give gives a datagram to the VM and to the director.
func (k *kernelPeer) give(d []byte) {
	k.t.Helper()
	group := netip.MustParseAddrPort("224.0.0.81:8848")
	c := kernelConn{syncPeer: &syncPeer{group: group}, kernel: k}
	if _, err := c.Write(d); err != nil {
		k.t.Fatal(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.receivers[group] {
		r <- sentDatagram{append([]byte(nil), d...), netip.MustParseAddr("10.99.0.9")}
	}
}
