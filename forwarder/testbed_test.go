package forwarder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/internal/control"
	"uvs/internal/ipvsadm"
	"uvs/internal/policy"
	"uvs/internal/synproxy"
)

// testbed is a director in the network of network_test.go, without its goroutines:
// frames go through a worker's batch directly. In a testing/synctest bubble pass moves
// its clock.
type testbed struct {
	t       testing.TB
	fw      *Forwarder
	net     *network
	mem     *memory
	workers map[int]*worker
	drainer *drainer
	proxy   *proxyKeeper
	adopted conntrack.Inventory
	id      uint16 // IP identification of the last packet built
}

// newTestbed returns a director with the services and servers of some command lines,
// as apply takes them.
func newTestbed(t testing.TB, commands string) *testbed {
	t.Helper()
	return newTestbedOf(t, commands, 1<<16)
}

// newTestbedOf is newTestbed for at most conns connections.
func newTestbedOf(t testing.TB, commands string, conns int) *testbed {
	t.Helper()
	return newTestbedWith(t, commands, Config{MaxConns: conns})
}

// newTestbedWith is newTestbed for a Config without driver and neighbours. It adopts
// the connections in its Memory.
func newTestbedWith(t testing.TB, commands string, c Config) *testbed {
	t.Helper()
	b := &testbed{t: t, mem: newMemory(), workers: map[int]*worker{},
		net: newNetwork()}
	c.Driver, c.Neighbours, c.TOA = b.mem, b.net, 254
	fw, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fw.conns.Close() })
	b.fw = fw
	b.apply(commands)
	if fw.Inherited() {
		if b.adopted, err = fw.Adopt(); err != nil {
			t.Fatal(err)
		}
		b.apply("") // what connections need
	}
	r := fw.conns.Reader()
	t.Cleanup(r.Close)
	b.drainer, b.proxy = newDrainer(fw, r), &proxyKeeper{fw: fw, reader: r}
	fw.links.Store(fw.linksOf(b.net.Interfaces))
	for _, l := range b.net.Interfaces {
		w := fw.newWorker(l, 0, b.mem.near[l.Index])
		w.id = 0 // a random one would come to 0 in some runs, which recordings tell from other numbers
		b.workers[l.Index] = w
	}
	return b
}

// apply runs lines of ipvsadm's words, and of `uvs policy` and `uvs synproxy` after the
// words policy and synproxy.
func (b *testbed) apply(commands string) {
	b.t.Helper()
	for line := range strings.Lines(commands) {
		if err := b.try(line); err != nil {
			b.t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
	}
	mustDo(b.t, b.fw.RebuildPlan()) // as after a change of the host, or of connections
}

// try runs one line as apply takes it.
func (b *testbed) try(line string) error {
	switch words := strings.Fields(line); {
	case len(words) == 0:
		return nil
	case words[0] == "policy":
		c, err := policy.Parse(words[1:], ipvsadm.NewSystemNames())
		if err != nil {
			return err
		}
		return b.fw.SetPolicy(c.Key, c.Policy)
	case words[0] == "synproxy":
		c, err := synproxy.Parse(words[1:], ipvsadm.NewSystemNames())
		if err != nil {
			return err
		}
		return b.fw.SetSynProxy(c.Key, c.On)
	}
	_, err := b.runTool(line)
	return err
}

// ipvsadm runs one command line and returns what it printed.
func (b *testbed) ipvsadm(line string) string {
	b.t.Helper()
	out, err := b.runTool(line)
	if err != nil {
		b.t.Fatalf("ipvsadm %s: %v", strings.TrimSpace(line), err)
	}
	return out
}

func (b *testbed) runTool(line string) (string, error) {
	var out, problems bytes.Buffer
	tool := &ipvsadm.Tool{Program: "ipvsadm", Director: control.NewLocal(b.fw), Names: ipvsadm.NewSystemNames(),
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems}
	if tool.Run(context.Background(), strings.Fields(line)) != 0 {
		return "", errors.New(problems.String())
	}
	return out.String(), nil
}

// mark gives packets that a rule describes a firewall mark.
func (b *testbed) mark(r config.MarkRule) {
	b.t.Helper()
	mustDo(b.t, b.fw.AddMark(r))
}

// sysctl changes a parameter of net.ipv4.vs.
func (b *testbed) sysctl(name string, value any) {
	b.t.Helper()
	mustDo(b.t, b.fw.SetSysctl(name, fmt.Sprint(value)))
}

// pass lets time go by with the housekeeping of every tenth of a second, and returns
// what that sent, in full.
func (b *testbed) pass(d time.Duration) []string {
	const step = 100 * time.Millisecond
	for ; d > 0; d -= step {
		time.Sleep(min(d, step))
		for !b.fw.conns.Sweep(b.fw.now(), sweepSlots) {
		}
		b.drainer.step(b.fw.now())
		b.proxy.step(b.fw.now())
	}
	return b.inFull(b.collect())
}

// send puts packets on the wire of a link, Ethernet header and all, and returns
// what came out of both links.
func (b *testbed) send(link int, packets ...[]byte) []sent {
	b.t.Helper()
	b.mem.far[link].Inject(packets...)
	return b.receive(link)
}

// receive has the worker of a link handle a batch, and returns what came out of both
// links.
func (b *testbed) receive(link int) []sent {
	b.t.Helper()
	w := b.workers[link]
	n, err := w.port.Recv(w.in[:])
	if err != nil {
		b.t.Fatal(err)
	}
	w.batch(w.in[:n])
	return b.collect()
}

// sent is a frame that came out of a link.
type sent struct {
	link    int
	b       []byte
	offload frame.Offload
}

func (b *testbed) collect() []sent {
	var all []sent
	for _, link := range []int{1, 2} {
		for _, f := range b.mem.far[link].Collect() {
			all = append(all, sent{link, f.Bytes, f.Offload})
		}
	}
	return all
}

// words describes frames, each with the side of its link.
func (b *testbed) words(out []sent) []string { return b.described(out, judge) }

// inFull is words with the flags and numbers of segments in place of MAC addresses.
func (b *testbed) inFull(out []sent) []string { return b.described(out, inFull) }

func (b *testbed) described(out []sent, words func(testing.TB, []byte) string) (all []string) {
	for _, s := range out {
		side := "client"
		if s.link == 2 {
			side = "server"
		}
		all = append(all, side+" "+words(b.t, s.b))
	}
	return all
}

// expect sends a packet and compares the words of what comes out.
func (b *testbed) expect(because string, link int, p []byte, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.words(b.send(link, p))); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", because, diff)
	}
}

// expectFull is expect for inFull.
func (b *testbed) expectFull(because string, link int, p []byte, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.inFull(b.send(link, p))); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", because, diff)
	}
}

// verdict returns how many frames ended with a verdict.
func (b *testbed) verdict(v frame.Verdict) uint64 {
	said := b.fw.accounts.sum()
	return said.outcome(v)
}

// expectCounts compares some of the director's counters.
func (b *testbed) expectCounts(because string, want map[string]uint64) {
	b.t.Helper()
	all, got := b.fw.Counters(), map[string]uint64{}
	for name := range want {
		got[name] = all[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", because, diff)
	}
}

// open has a client open a connection and say something.
func (b *testbed) open(client, virtual string) {
	b.t.Helper()
	b.send(1, at(b.t, 1, client, virtual, syn, 999, 0, ""))
	b.send(1, at(b.t, 1, client, virtual, ack, 1000, 5001, ""))
}

// mustDo fails the test if err is an error.
func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
