package lab_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/lab"
	"uvs/lab/labtest"
)

// attacker sends frames of any kind from the client to the director.
type attacker struct {
	*rand.Rand
	t        *testing.T
	socket   *os.File
	to       unix.SockaddrLinklayer
	dst, src net.HardwareAddr
	vip, own [4]byte
}

func newAttacker(t *testing.T, l *lab.Lab) *attacker {
	t.Helper()
	cat := func(node, file string) string {
		return strings.TrimSpace(labtest.Exec(t, l, node, "cat", "/sys/class/net/eth0/"+file))
	}
	a := &attacker{Rand: rand.New(rand.NewPCG(2, 6)), t: t,
		vip: l.Topology.VIP.As4(), own: l.Topology.Node("client").Address().As4()}
	a.dst, _ = net.ParseMAC(cat("director", "address"))
	a.src, _ = net.ParseMAC(cat("client", "address"))
	a.to.Ifindex, _ = strconv.Atoi(cat("client", "ifindex"))
	var err error
	if a.socket, err = l.Socket("client", unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.socket.Close() })
	return a
}

// send sends frames; the client's own kernel refuses some.
func (a *attacker) send(frames ...[]byte) {
	for _, b := range frames {
		_ = unix.Sendto(int(a.socket.Fd()), b, 0, &a.to)
	}
}

func (a *attacker) ethernet(etherType uint16, payload ...byte) []byte {
	b := append(append([]byte{}, a.dst...), a.src...)
	return append(binary.BigEndian.AppendUint16(b, etherType), payload...)
}

// packet returns an IPv4 packet to the virtual address; change may damage its header before
// the checksums are computed.
func (a *attacker) packet(proto uint8, payload []byte, change func(ip []byte)) []byte {
	ip := make([]byte, 20, 20+len(payload))
	ip[0], ip[8], ip[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(ip[4:], uint16(a.Uint32()))
	copy(ip[12:], a.own[:])
	copy(ip[16:], a.vip[:])
	ip = append(ip, payload...)
	if change != nil {
		change(ip)
	}
	if l4 := ip[20:]; proto == frame.ProtoTCP && len(l4) >= 20 {
		binary.BigEndian.PutUint16(l4[16:], 0)
		sum := frame.Sum(l4, frame.PseudoSum(ip[12:16], ip[16:20], proto, len(l4)))
		binary.BigEndian.PutUint16(l4[16:], ^frame.Fold(sum))
	}
	if n := int(ip[0]&15) * 4; n >= 20 && n <= len(ip) {
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], frame.Checksum(ip[:n]))
	}
	return a.ethernet(frame.EtherIPv4, ip...)
}

// segment returns a TCP segment to the web service that belongs to no connection.
func segment(flags, offset uint8, data int) []byte {
	b := make([]byte, 20+data)
	binary.BigEndian.PutUint16(b, 1234)
	binary.BigEndian.PutUint16(b[2:], 80)
	b[12], b[13] = offset<<4, flags
	return b
}

func (a *attacker) arp(change func(b []byte)) []byte {
	b := binary.BigEndian.AppendUint64(nil, 0x0001080006040001)
	b = append(append(b, a.src...), a.own[:]...)
	b = append(append(b, make([]byte, 6)...), a.vip[:]...)
	change(b)
	return a.ethernet(frame.EtherARP, b...)
}

// counters reads `uvs stats`.
func counters(t *testing.T, l *lab.Lab) map[string]int {
	t.Helper()
	all := map[string]int{}
	for line := range strings.Lines(labtest.Exec(t, l, "director", "uvs", "stats")) {
		if f := strings.Fields(line); len(f) == 2 {
			all[f[0]], _ = strconv.Atoi(f[1])
		}
	}
	return all
}

func TestHostileFramesAreCountedByName(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	addUDP(t, l)
	flows(t, l) // so that the servers' MAC addresses are known
	a := newAttacker(t, l)
	syn, whole := segment(frame.FlagSYN, 5, 0), a.packet(6, segment(frame.FlagSYN, 5, 0), nil)
	badSum := bytes.Clone(whole)
	badSum[frame.EthernetLen+10] ^= 0x55
	open := make([]byte, 8)
	binary.BigEndian.PutUint16(open, 4444)
	binary.BigEndian.PutUint16(open[2:], 53)
	binary.BigEndian.PutUint16(open[4:], 8)
	a.send(a.packet(17, open, nil))
	quoted := a.packet(17, []byte{0, 53, 0x11, 0x5c, 0, 8, 0, 0}, func(ip []byte) { copy(ip[12:], a.vip[:]); copy(ip[16:], a.own[:]) })[frame.EthernetLen:]
	damaged := a.packet(1, append([]byte{3, 1, 0x55, 0x55, 0, 0, 0, 0}, quoted...), nil)
	fragment := func(id, at uint16, more bool, n int) []byte {
		return a.packet(17, make([]byte, n), func(ip []byte) {
			binary.BigEndian.PutUint16(ip[4:], id)
			if at /= 8; more {
				at |= 0x2000
			}
			binary.BigEndian.PutUint16(ip[6:], at)
		})
	}
	for _, c := range []struct {
		name, counter string
		frames        [][]byte
	}{
		{"a TCP header that ends early", "drop-truncated", [][]byte{whole[:frame.EthernetLen+30]}},
		{"a packet shorter than it says", "drop-truncated", [][]byte{a.packet(6, syn, func(ip []byte) { ip[2] = 5 })}},
		{"TCP data beyond the packet", "drop-malformed", [][]byte{a.packet(6, segment(frame.FlagSYN, 15, 4), nil)}},
		{"TCP data within the header", "drop-malformed", [][]byte{a.packet(6, segment(frame.FlagSYN, 4, 0), nil)}},
		{"UDP of length 7", "drop-malformed", [][]byte{a.packet(17, []byte{4, 0, 0, 53, 0, 7, 0, 0}, nil)}},
		{"a wrong IP checksum", "drop-bad-checksum", [][]byte{badSum}},
		{"an ICMP error with a wrong checksum", "drop-bad-checksum", [][]byte{damaged}},
		{"a source of loopback", "drop-martian-source", [][]byte{a.from([4]byte{127, 0, 0, 1}, 3333)}},
		{"a source of no address", "drop-martian-source", [][]byte{a.from([4]byte{}, 3333)}},
		{"a group as the source", "drop-martian-source", [][]byte{a.from([4]byte{224, 0, 0, 1}, 3333)}},
		{"all hosts as the source", "drop-martian-source", [][]byte{a.from([4]byte{255, 255, 255, 255}, 3333)}},
		{"the virtual address as the source", "drop-martian-source", [][]byte{a.from(a.vip, 3333)}},
		{"the director's address as the source", "drop-martian-source", [][]byte{a.from(l.Topology.Node("director").Address().As4(), 3333)}},
		{"a loose source route", "drop-source-route", [][]byte{a.packet(17, []byte{131, 7, 4, 10, 0, 0, 9, 0, 4, 0, 0, 53, 0, 8, 0, 0}, func(ip []byte) { ip[0] = 0x47 })}},
		{"an ACK of no connection", "answered", [][]byte{a.packet(6, segment(frame.FlagACK, 5, 0), nil)}},
		{"a RST of no connection", "drop-state", [][]byte{a.packet(6, segment(frame.FlagRST, 5, 0), nil)}},
		{"IP options", "forward", [][]byte{a.packet(17, []byte{1, 1, 1, 0, 4, 0, 0, 53, 0, 8, 0, 0}, func(ip []byte) { ip[0] = 0x46 })}},
		{"UDP without data", "forward", [][]byte{a.packet(17, []byte{4, 1, 0, 53, 0, 8, 0, 0}, nil)}},
		{"fragments that overlap", "drop-fragment-bad", [][]byte{fragment(1, 0, true, 64), fragment(1, 48, false, 64)}},
		{"a fragment twice", "drop-fragment-dup", [][]byte{fragment(2, 0, true, 64), fragment(2, 0, true, 64)}},
		{"a fragment beyond 65535", "drop-fragment-bad", [][]byte{fragment(3, 65528, false, 64)}},
		{"ARP that ends early", "drop-arp", [][]byte{a.arp(func([]byte) {})[:30]}},
		{"ARP with long addresses", "drop-arp", [][]byte{a.arp(func(b []byte) { b[4] = 255 })}},
		{"ARP from a group address", "drop-arp", [][]byte{a.arp(func(b []byte) { b[8] = 0xff })}},
	} {
		before := counters(t, l)
		a.send(c.frames...)
		after := before
		for range 20 {
			if after = counters(t, l); after[c.counter] > before[c.counter] {
				break
			}
		}
		if after[c.counter] == before[c.counter] {
			t.Errorf("%s is not counted as %s", c.name, c.counter)
		}
	}
	flows(t, l)
	t.Log(labtest.Exec(t, l, "director", "uvs", "stats", "--check"))
}

func TestFloodsLeaveMemoryAndTrafficAlone(t *testing.T) {
	l := own(t, "nat")
	director := l.Command("director", "sh", "-c", "echo $$; exec uvs director --rules "+rules(t, l))
	var pid pipe
	director.Stdout = &pid
	if err := director.Start(); err != nil {
		t.Fatal(err)
	}
	defer director.Signal(unix.SIGKILL)
	awaitRules(t, l, "Masq")
	addUDP(t, l)
	flows(t, l)
	before := rss(t, l, pid.String())
	a := newAttacker(t, l)
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		a.flood()
	}()
	for over, checks := false, 0; !over || checks < 2; checks++ {
		select {
		case <-flooding:
			over = true
		default:
		}
		labtest.Exec(t, l, "director", "uvs", "stats", "--check") // fails unless every frame is accounted for
	}
	flows(t, l)
	after := rss(t, l, pid.String())
	t.Logf("%d KiB before, %d KiB after; %v", before, after, counters(t, l))
	if after > before+64<<10 {
		t.Errorf("memory grew from %d to %d KiB", before, after)
	}
}

// flood sends some ten thousand frames of each kind for which a director keeps state
// (fragments, neighbours, connections), and random frames.
func (a *attacker) flood() {
	const n = 10000
	for i := range n {
		a.send(a.packet(17, make([]byte, 1400), func(ip []byte) { // never complete
			binary.BigEndian.PutUint32(ip[12:], 0xac100000|uint32(i))
			binary.BigEndian.PutUint16(ip[6:], 0x2000|uint16(a.IntN(3)*200))
		}))
		a.send(a.arp(func(b []byte) {
			b[7] = byte(1 + i&1)
			binary.BigEndian.PutUint32(b[10:], a.Uint32())
			binary.BigEndian.PutUint32(b[14:], 0xac100000|uint32(i))
		}))
		b := a.packet(6, segment(frame.FlagSYN, 5, 20), nil)
		for range 1 + a.IntN(4) {
			b[frame.EthernetLen+a.IntN(len(b)-frame.EthernetLen)] = byte(a.Uint32())
		}
		a.send(b)
	}
}

// pipe collects the output of a command. It may be read meanwhile.
type pipe struct{ bytes.Buffer }

// rss returns the resident memory in KiB of a process of the director's node.
func rss(t *testing.T, l *lab.Lab, pid string) int {
	t.Helper()
	status := labtest.Exec(t, l, "director", "cat", fmt.Sprintf("/proc/%s/status", strings.TrimSpace(pid)))
	_, rest, _ := strings.Cut(status, "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
