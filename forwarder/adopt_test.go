package forwarder

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"uvs/conntrack"
	"uvs/sched"
)

// restarts is a director that is killed and started again in the same memory.
type restarts struct {
	*testbed
	memory []byte
	began  time.Time
}

func newRestarts(t testing.TB, commands string) *restarts {
	t.Helper()
	r := &restarts{began: time.Now(), memory: sharedMemory(t, 1<<12, hugePage)}
	r.testbed = newTestbedWith(t, commands, r.config())
	return r
}

const hugePage = 2 << 20

// sharedMemory returns the memory of a file for so many connections, at an address
// that is a multiple of align: of 2 MiB, or of a page only, which rules out huge
// pages.
func sharedMemory(t testing.TB, conns int, align uintptr) []byte {
	t.Helper()
	return mapped(t, memoryFile(t, conns), align)
}

// memoryFile returns a file for the memory of so many connections.
func memoryFile(t testing.TB, conns int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("conns", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "conns")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(int64(conntrack.Size(conns))); err != nil {
		t.Fatal(err)
	}
	return f
}

// mapped returns a file's memory, mapped once more, as sharedMemory does.
func mapped(t testing.TB, f *os.File, align uintptr) []byte {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	size := int(info.Size())
	room, err := unix.Mmap(-1, 0, size+2*hugePage, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(room) })
	at := unsafe.Pointer(&room[hugePage-uintptr(unsafe.Pointer(&room[0]))%hugePage+hugePage-align])
	if at, err = unix.MmapPtr(int(f.Fd()), 0, at, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		t.Fatal(err)
	}
	return unsafe.Slice((*byte)(at), size)
}

func (r *restarts) config() Config {
	return Config{MaxConns: 1 << 12, Memory: r.memory, Clock: func() time.Duration { return time.Since(r.began) }}
}

// restart ends the director without a word to it, and starts the next.
func (r *restarts) restart(commands string) {
	r.t.Helper()
	r.testbed = newTestbedWith(r.t, commands, r.config())
}

// both sends a packet each way on a connection and returns what comes out.
func (r *restarts) both(client, virtual, from, to string) []string {
	all := r.words(r.deliver(1, r.tcp(1, segment{src: client, dst: virtual, flags: ack, seq: 1000, ack: 5001, data: "up"})))
	if to == "" {
		return all
	}
	return append(all, r.words(r.deliver(2, r.tcp(2, segment{src: from, dst: to, flags: ack, seq: 5001, ack: 1002, data: "down"})))...)
}

func TestConnectionsGoOnAfterARestart(t *testing.T) {
	const client, virtual = "172.16.0.9:3001", "10.2.0.1:80"
	for _, tt := range []struct{ name, option, server, back string }{
		{"by NAT", "-m", "10.1.0.1:80", client},
		{"by direct routing", "-g", "10.1.0.1:80", ""},
		{"by tunnelling", "-i", "10.1.0.1:80", ""},
		{"by FULLNAT", "--fullnat", "10.1.0.1:80", "local"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 " + tt.option
			r := newRestarts(t, rules)
			r.deliver(1, r.tcp(1, segment{src: client, dst: virtual, flags: syn, seq: 999}))
			back := tt.back
			if back == "local" {
				back = netip.AddrPortFrom(netip.MustParseAddr("10.1.255.254"), r.localPortOf(client)).String()
			}
			if back != "" {
				r.deliver(2, r.tcp(2, segment{src: tt.server, dst: back, flags: syn | ack, seq: 5000, ack: 1000}))
			}
			want := r.both(client, virtual, tt.server, back)
			table, list := r.ipvsadm("-Ln"), r.ipvsadm("-Lcn")
			if len(want) == 0 || !strings.Contains(list, "ESTABLISHED") {
				t.Fatalf("%v\n%s", want, list)
			}
			r.restart(rules)
			if got := r.both(client, virtual, tt.server, back); !cmp.Equal(got, want) {
				t.Errorf("forwarded %v, before %v", got, want)
			}
			if diff := cmp.Diff(table, r.ipvsadm("-Ln")); diff != "" {
				t.Errorf("servers (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(list, r.ipvsadm("-Lcn")); diff != "" {
				t.Errorf("connections (-before +after):\n%s", diff)
			}
		})
	}
}

// localPortOf returns the local port of a client's connection.
func (r *restarts) localPortOf(client string) uint16 {
	for _, c := range r.fw.Connections() {
		if c.Client.String() == client {
			return c.Local.Port()
		}
	}
	return 0
}

func TestAnAdoptedLocalPortIsNotGivenToAnotherConnection(t *testing.T) {
	rules := "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 --fullnat"
	r := newRestarts(t, rules)
	open := func(client string) uint16 {
		r.deliver(1, r.tcp(1, segment{src: client, dst: "10.2.0.1:80", flags: syn, seq: 999}))
		return r.localPortOf(client)
	}
	seen := map[uint16]bool{}
	for i := range 200 {
		if i == 100 {
			r.restart(rules)
		}
		port := open(fmt.Sprintf("172.16.0.9:%d", 2000+i))
		if port == 0 || seen[port] {
			t.Fatalf("connection %d got port %d", i, port)
		}
		seen[port] = true
	}
}

func TestAClientStaysWithItsServerAfterARestart(t *testing.T) {
	rules := "-A -t 10.2.0.1:80 -s rr -p 300\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m"
	r := newRestarts(t, rules)
	open := func(port int) string {
		return fmt.Sprint(r.words(r.deliver(1, r.tcp(1, segment{src: fmt.Sprintf("172.16.0.9:%d", port), dst: "10.2.0.1:80", flags: syn, seq: 999}))))
	}
	first := open(2000)
	r.restart(rules)
	for port := 2001; port < 2005; port++ {
		if got := open(port); !strings.Contains(got, strings.Fields(first)[2]) {
			t.Errorf("%s, before %s", got, first)
		}
	}
	if n := r.fw.Connections(); len(n) != 6 {
		t.Errorf("%d connections and templates, want 6", len(n))
	}
	s := r.fw.Server(1)
	if s.Active()+s.Inactive() == 0 {
		s = r.fw.Server(2)
	}
	if s.Persistent() != 1 || s.Active()+s.Inactive() != 5 {
		t.Errorf("%d templates, %d connections", s.Persistent(), s.Active()+s.Inactive())
	}
}

func TestFTPSequenceNumbersGoOnAfterARestart(t *testing.T) {
	rules := "-A -t 10.2.0.100:21 -s rr\n-a -t 10.2.0.100:21 -r 10.1.0.1:21 -m"
	r := newRestarts(t, rules)
	b := &ftpConn{testbed: r.testbed, client: 1000, server: 5000}
	b.deliver(1, b.tcp(1, segment{src: "172.16.0.9:3001", dst: "10.2.0.100:21", flags: syn, seq: 999}))
	b.handshake("172.16.0.9:3001", "10.2.0.100:21", "10.1.0.1:21")
	const answer = "227 Entering Passive Mode (10,1,0,1,200,10).\r\n" // grows by 2
	for i, want := range []string{"seq=5000", "seq=5048"} {
		b.says("PASV\r\n")
		if i == 1 {
			r.restart(rules) // between question and answer
			b.testbed = r.testbed
		}
		if got := b.answers(answer); !strings.Contains(got, want) || !strings.Contains(got, "(10,2,0,100,200,10)") {
			t.Errorf("answer %d: %s", i+1, got)
		}
	}
	if n := r.fw.Connections(); len(n) != 2 {
		t.Errorf("%d connections, want the control connection and its data connection", len(n))
	}
}

func TestACallKeepsItsServerAfterARestart(t *testing.T) {
	rules := "-A -u 10.2.0.1:5060 -s rr -p 300 --pe sip\n-a -u 10.2.0.1:5060 -r 10.1.0.1:5060 -m\n-a -u 10.2.0.1:5060 -r 10.1.0.2:5060 -m"
	r := newRestarts(t, rules)
	call := func(from string) string {
		out := r.words(r.send(1, dgram(t, 1, from, "10.2.0.1:5060", "INVITE sip:x SIP/2.0\r\nCall-ID: one@call\r\n\r\n")))
		return strings.Fields(strings.Join(out, ""))[2]
	}
	first := call("172.16.0.9:2000")
	r.restart(rules)
	if got := r.ipvsadm("-Lcn --persistent-conn"); strings.Contains(got, "one@call") {
		t.Errorf("how does it know the Call-ID?\n%s", got)
	}
	if got := call("172.16.0.9:2001"); !strings.HasPrefix(got, first[:9]) {
		t.Errorf("%s, before %s", got, first)
	}
	if got := r.ipvsadm("-Lcn --persistent-conn"); !strings.Contains(got, "one@call") {
		t.Errorf("the Call-ID did not come back:\n%s", got)
	}
}

func TestWhatExpiredDuringAPauseIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := "-A -t 10.2.0.1:80 -s wlc\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n-A -u 10.2.0.1:53 -s rr -p 600\n-a -u 10.2.0.1:53 -r 10.1.0.2:53 -m"
		r := newRestarts(t, rules)
		r.deliver(1, r.tcp(1, segment{src: "172.16.0.9:3001", dst: "10.2.0.1:80", flags: syn, seq: 999}))
		r.handshake("172.16.0.9:3001", "10.2.0.1:80", "10.1.0.1:80")
		r.send(1, dgram(t, 1, "172.16.0.9:3001", "10.2.0.1:53", "x"))
		time.Sleep(301 * time.Second) // UDP: 300 s, established: 900 s, the template: 600 s
		r.restart(rules)
		if r.adopted.Expired != 1 || r.fw.Server(1).Active() != 1 || r.fw.Server(2).Inactive() != 0 || r.fw.Server(2).Persistent() != 1 {
			t.Errorf("%+v", r.adopted)
		}
		list := r.ipvsadm("-Lcn")
		if !strings.Contains(list, "09:5") || !strings.Contains(list, "04:5") || strings.Count(list, "UDP") != 1 {
			t.Errorf("connections:\n%s", list)
		}
		r.pass(900 * time.Second)
		for id := range sched.ID(3) {
			if s := r.fw.Server(id); s != nil && s.Active()+s.Inactive()+s.Persistent() != 0 {
				t.Errorf("server %d has %d, %d and %d", id, s.Active(), s.Inactive(), s.Persistent())
			}
		}
	})
}

func TestConnectionsOfAServerThatIsNotConfiguredAreNotKept(t *testing.T) {
	two := "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m"
	r := newRestarts(t, two)
	for i := range 10 {
		r.deliver(1, r.tcp(1, segment{src: fmt.Sprintf("172.16.0.9:%d", 2000+i), dst: "10.2.0.1:80", flags: syn, seq: 999}))
	}
	r.restart("-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m") // has the number of the other
	if r.adopted.Conns != 0 || r.adopted.Unknown != 10 || r.fw.Server(1).Inactive() != 0 {
		t.Errorf("%+v", r.adopted)
	}
}
