package forwarder

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
)

// resolving is a network in which the MAC addresses on a link are unknown until a test
// ends the waiting.
type resolving struct {
	*network
	link    int
	mu      sync.Mutex
	known   bool
	waiting []frame.Frame
}

func (n *resolving) Lookup(dst netip.Addr) (*neigh.Hop, frame.Verdict) {
	h, v := n.network.Lookup(dst)
	if v == frame.Continue && h.Link == n.link {
		h.Resolved = n.known
	}
	return h, v
}

func (n *resolving) Queue(h *neigh.Hop, f *frame.Frame) frame.Verdict {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == 40 {
		return frame.DropNeighbourQueue
	}
	kept := f.Copy()
	kept.Egress = h.Link
	n.waiting = append(n.waiting, kept)
	return frame.Queued
}

func (n *resolving) Waiting(f func(*frame.Frame)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.waiting {
		f(&n.waiting[i])
	}
}

// take returns what waited.
func (n *resolving) take() []frame.Frame {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.waiting
	n.waiting = nil
	return all
}

// accountOf returns the account of a link's worker, which must balance.
func (b *testbed) accountOf(because string, link int) config.Account {
	b.t.Helper()
	for _, a := range b.fw.Accounts() {
		if a.Difference != 0 {
			b.t.Errorf("%s: %v; difference %+d", because, &a, a.Difference)
		}
		if a.Port == b.workers[link].account.name {
			return a
		}
	}
	b.t.Fatalf("%s: there is no account of link %d", because, link)
	return config.Account{}
}

func (b *testbed) accounts(because string, outcomes map[string]uint64, waiting config.Waiting) {
	b.t.Helper()
	a := b.accountOf(because, 1)
	if diff := cmp.Diff(outcomes, a.Outcomes); diff != "" {
		b.t.Errorf("%s: outcomes (-want +got):\n%s", because, diff)
	}
	if a.Waiting != waiting {
		b.t.Errorf("%s: waiting %+v, want %+v", because, a.Waiting, waiting)
	}
}

func TestAFrameThatWaitedEndsOnce(t *testing.T) {
	for _, c := range []struct {
		how  string
		end  func(b *testbed, waited []frame.Frame)
		want string
	}{
		{"it was sent", func(b *testbed, fs []frame.Frame) { b.fw.Emit(fs) }, "queued"},
		{"nobody answered", func(b *testbed, fs []frame.Frame) { b.fw.Dropped(frame.DropNoNeighbour, fs) }, "drop-no-neighbour"},
		{"the kernel refused it", func(b *testbed, fs []frame.Frame) { b.mem.near[2].MTU = 28; b.fw.Emit(fs) }, "drop-send"},
		{"its interface is gone", func(b *testbed, fs []frame.Frame) { fs[0].Egress = 9; b.fw.Emit(fs) }, "drop-no-route"},
	} {
		b := newTestbed(t, udpByNAT)
		net := &resolving{network: b.net, link: 2}
		b.fw.neigh = net
		b.send(1, dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:53", "a question of some length that is to wait for its server"))
		b.accounts("while it waits", map[string]uint64{}, config.Waiting{Neighbour: 1})
		c.end(b, net.take())
		b.accounts("when "+c.how, map[string]uint64{c.want: 1}, config.Waiting{})
	}
}

const udpByNAT = `
-A -u 10.2.0.1:53 -s rr
-a -u 10.2.0.1:53 -r 10.1.0.1:53 -m
`

func TestAFrameTheKernelRefusesEndsOnce(t *testing.T) {
	b := newTestbed(t, udpByNAT)
	b.mem.near[2].MTU = 60
	b.send(1, dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:53", "short"),
		dgram(t, 1, "172.16.0.9:5001", "10.2.0.1:53", "so long that the interface does not take it any more"))
	b.accounts("one is refused", map[string]uint64{"forward": 1, "drop-send": 1}, config.Waiting{})
}

func TestAFrameMadeHereIsInNoAccount(t *testing.T) {
	b := newTestbed(t, udpByNAT)
	b.mem.near[1].MTU = 30
	b.send(1, dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:54", "nothing is served there"))
	b.accounts("the answer is refused", map[string]uint64{"answered": 1}, config.Waiting{})
	if n := b.fw.Counters()["made-dropped"]; n != 1 {
		t.Errorf("%d frames made here were dropped, want 1", n)
	}
}

func TestFragmentsShareTheOutcomeOfTheirDatagram(t *testing.T) {
	b := newTestbed(t, udpByNAT)
	net := &resolving{network: b.net, link: 2}
	b.fw.neigh = net
	whole := dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:53", "three fragments, of 16, 16 and some more bytes of a datagram")
	all := fragmentsOf(whole, 16)
	b.send(1, all[:len(all)-1]...)
	b.accounts("not all are there", map[string]uint64{}, config.Waiting{Fragments: uint64(len(all) - 1)})
	b.send(1, all[len(all)-1])
	b.accounts("they wait for their server", map[string]uint64{}, config.Waiting{Neighbour: uint64(len(all))})
	b.fw.Emit(net.take())
	b.accounts("they were sent", map[string]uint64{"queued": uint64(len(all))}, config.Waiting{})
}

func TestAClosedQueueKeepsItsAccount(t *testing.T) {
	b := newTestbed(t, udpByNAT)
	net := &resolving{network: b.net, link: 2}
	b.fw.neigh = net
	whole := dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:53", "the first of these fragments wait for ever")
	b.send(1, fragmentsOf(whole, 16)[:2]...)
	b.send(1, dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:53", "this waits for its server"))
	w := b.workers[1]
	w.close()
	b.fw.accounts.close(w.account)
	b.accounts("one waits still", map[string]uint64{"drop-fragment-timeout": 2}, config.Waiting{Neighbour: 1})
	b.fw.Emit(net.take())
	for _, a := range b.fw.Accounts() {
		if a.Difference != 0 || a.Port == w.account.name {
			t.Errorf("after all have ended: %v", &a)
		}
	}
	if all := b.fw.Counters(); all["queued"] != 1 || all["drop-fragment-timeout"] != 2 {
		t.Errorf("the counters of the closed queue are lost: %v", all)
	}
}

// Whoever looks at any moment sees accounts that balance, and counters that never go
// backwards.
func TestAccountsBalanceUnderLoad(t *testing.T) {
	b := newTestbed(t, udpByNAT)
	net := &resolving{network: b.net, link: 2}
	b.fw.neigh = net
	b.mem.near[2].MTU = 60
	batch := [][]byte{
		dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:53", "short"),
		dgram(t, 1, "172.16.0.9:5001", "10.2.0.1:53", "so long that the interface does not take it any more"),
		dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:54", "nothing is served there"),
	}
	batch = append(batch, fragmentsOf(dgram(t, 1, "172.16.0.9:5002", "10.2.0.1:53", "a datagram of some fragments"), 16)...)
	var done atomic.Bool
	var working sync.WaitGroup
	w := b.workers[1]
	working.Go(func() {
		for round := 0; !done.Load(); round++ {
			if round%50 == 0 {
				net.known = !net.known
				net.generation++
			}
			b.mem.far[1].Inject(batch[:1+round%len(batch)]...)
			n, _ := w.port.Recv(w.in[:])
			w.batch(w.in[:n])
			b.collect()
		}
	})
	working.Go(func() {
		for !done.Load() {
			b.fw.Emit(net.take())
			time.Sleep(time.Millisecond)
		}
	})
	before := map[string]uint64{}
	for received := uint64(0); received < 4000; {
		for _, a := range b.fw.Accounts() {
			received = max(received, a.Received)
			if a.Difference != 0 {
				t.Errorf("%v; difference %+d", &a, a.Difference)
			}
		}
		now := b.fw.Counters()
		for name, n := range before {
			if name != "waiting" && name != "connections" && now[name] < n {
				t.Errorf("%s went from %d to %d", name, n, now[name])
			}
		}
		before = now
	}
	done.Store(true)
	working.Wait()
	b.accountOf("in the end", 1)
}

// fragmentsOf cuts a packet into fragments with n bytes of data each.
func fragmentsOf(whole []byte, n int) (all [][]byte) {
	data := len(whole) - frame.EthernetLen - plainHeader
	for at := 0; at < data; at += n {
		all = append(all, piece(whole, at, min(n, data-at)))
	}
	return all
}
