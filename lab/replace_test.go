package lab_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
)

// TestDirectorsReplaceEachOtherUnderTraffic has one director take over from the other while
// connections carry data, new ones are opened, and numbered datagrams go to and fro. The last
// one is killed, and started again by the keeper of the first.
func TestDirectorsReplaceEachOtherUnderTraffic(t *testing.T) {
	for topology, replacements := range map[string]int{"nat": 50, "fullnat": 10, "dr": 5, "tun": 5} {
		if testing.Short() {
			replacements = 5
		}
		t.Run(topology, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, topology, numberedLab))
			addUDP(t, l)
			load := startLoad(t, l, 20)
			numbered := startNumbered(t, l)
			var last *lab.Cmd
			for range replacements {
				last = replace(t, l, last, "uvs")
			}
			load.await(1)
			numbered.judge(0, 0)
			_ = last.Signal(unix.SIGKILL)
			_ = last.Wait()
			load.await(1)
			numbered.end()
			numbered.judge(inHand, inHand)
			load.end()
			if t.Failed() {
				report(t, l)
			}
		})
	}
}

// TestADirectorThatDiesWhileItTakesOverBreaksNothing kills the new director at any moment of
// the replacement. The old one goes on, or, if it has ended already, the keeper starts the new
// one again. No connection breaks.
func TestADirectorThatDiesWhileItTakesOverBreaksNothing(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	l := labtest.Start(t, labtest.Build(t, "nat", numberedLab))
	addUDP(t, l)
	load := startLoad(t, l, 10)
	numbered := startNumbered(t, l)
	for range kills {
		c := l.Command("director", "uvs", "director", "--replace")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(200 * time.Millisecond)) // any moment will do
		_ = c.Signal(unix.SIGKILL)
		_ = c.Wait()
		if _, err := l.Exec("director", "ipvsadm", "-Ln"); err != nil {
			t.Fatal(err)
		}
	}
	load.await(1)
	numbered.end()
	numbered.judge(kills*inHand, kills*inHand)
	load.end()
	if t.Failed() {
		report(t, l)
	}
}

// replace starts a director that takes over, and waits until the one before has ended.
func replace(t *testing.T, l *lab.Lab, before *lab.Cmd, program string) *lab.Cmd {
	t.Helper()
	logs := &output{}
	c := l.Command("director", program, "director", "--replace")
	c.Stderr = logs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Signal(unix.SIGKILL)
		if t.Failed() {
			t.Log(logs)
		}
	})
	if before != nil {
		if err := before.Wait(); err != nil {
			t.Fatalf("the one before: %v", err)
		}
		return c
	}
	nstest.Eventually(t, "the first is replaced", func() bool {
		text, err := l.Logs("director")
		return err == nil && strings.Contains(text, "replaced")
	})
	return c
}

// output is what a command prints.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// numberedLab is without GRO: a veth that has it drops frames by itself on a busy machine.
var numberedLab = lab.Options{NoOffload: true}

// numbered are datagrams that a server sends back, each with its number.
type numbered struct {
	t       *testing.T
	conn    net.Conn
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	sent  int
	times map[uint32]int // each came back
}

// numberedEvery is the time between two datagrams. The smallest rings, those of a plain user,
// hold those of two seconds: a replacement takes most of one on a busy machine.
const numberedEvery = 4 * time.Millisecond

func startNumbered(t *testing.T, l *lab.Lab) *numbered {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	conn, err := l.Dial(ctx, "client", "udp", vip(l, 7))
	if err != nil {
		t.Fatal(err)
	}
	n := &numbered{t: t, conn: conn, stop: stop, times: map[uint32]int{}}
	t.Cleanup(n.end)
	n.running.Go(func() { n.send(ctx) })
	go n.receive()
	return n
}

func (n *numbered) send(ctx context.Context) {
	ticker := time.NewTicker(numberedEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		n.mu.Lock()
		n.sent++
		number := uint32(n.sent)
		n.mu.Unlock()
		if _, err := n.conn.Write(binary.BigEndian.AppendUint32(nil, number)); err != nil {
			n.t.Errorf("datagram %d: %v", number, err)
			return
		}
	}
}

func (n *numbered) receive() {
	b := make([]byte, 64)
	for {
		size, err := n.conn.Read(b)
		if err != nil {
			return
		}
		if size == 4 {
			n.mu.Lock()
			n.times[binary.BigEndian.Uint32(b)]++
			n.mu.Unlock()
		}
	}
}

// inHand is how many frames the workers of a director have in their hands at most when it is
// killed: these may be lost, or come twice.
var inHand = 64 * runtime.GOMAXPROCS(0)

// judge waits until the datagrams sent so far are back, and checks how many are lost and how
// many came twice.
func (n *numbered) judge(lost, twice int) {
	n.t.Helper()
	n.mu.Lock()
	sent := uint32(n.sent)
	n.mu.Unlock()
	missing := func() (all []uint32, again int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for i := uint32(1); i <= sent; i++ {
			if n.times[i] == 0 {
				all = append(all, i)
			}
			again += max(n.times[i]-1, 0)
		}
		return all, again
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if all, _ := missing(); len(all) <= lost {
			break
		}
	}
	all, again := missing()
	if len(all) > lost {
		n.t.Errorf("%d of %d datagrams are lost, want %d at most; the first %v", len(all), sent, lost, all[:min(len(all), 20)])
	}
	if again > twice {
		n.t.Errorf("%d of %d datagrams came twice, want %d at most", again, sent, twice)
	}
	n.t.Logf("%d datagrams, %d lost, %d twice", sent, len(all), again)
}

func (n *numbered) end() {
	n.stop()
	n.running.Wait()
}
