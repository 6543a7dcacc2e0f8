package forwarder

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/forwarder/state"
	"uvs/sched"
)

var kills = flag.Int("kills", 25, "how often TestADirectorGoesOnWhereverItIsKilled kills")

// What a victim serves all the time: each connection in turn is one of these.
const victimRules = `-A -t 10.2.0.1:80 -s rr -p 300
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m
-A -t 10.2.0.1:81 -s wlc
-a -t 10.2.0.1:81 -r 10.1.0.1:81 --fullnat
-A -t 10.2.0.1:82 -s rr
-a -t 10.2.0.1:82 -r 10.1.0.1:82 -g
-A -t 10.2.0.1:83 -s rr
-a -t 10.2.0.1:83 -r 10.1.0.2:83 -i
`

const victimConns = 1 << 16

func openKept(t testing.TB, dir string) *state.State {
	t.Helper()
	st, err := state.Open(state.Options{Dir: dir, Wait: 20 * time.Second})
	mustDo(t, err)
	return st
}

// TestADirectorGoesOnWhereverItIsKilled kills a director at random moments, while it
// opens connections and its configuration changes. What it has said to have done is
// there for the next, and whatever else is there fits together.
func TestADirectorGoesOnWhereverItIsKilled(t *testing.T) {
	if testing.Short() {
		*kills = min(*kills, 5)
	}
	dir := t.TempDir()
	v := &victims{t: t, dir: dir, wanted: service.New(sched.New), marks: service.New(sched.New)}
	for range *kills {
		v.live()
		v.check()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d connections, %d changes", *kills, v.opened, v.changed)
}

// victims are the processes, one after the other, and what is expected of them.
type victims struct {
	t       *testing.T
	dir     string
	opened  int // connections that they have said to have opened
	changed int // changes that they have said to have made
	// wanted has the changed services, as they are after these changes.
	wanted, marks *service.Table
}

// live runs a victim until it is killed at a random moment after it began to work.
func (v *victims) live() {
	cmd := exec.Command(os.Args[0], "-test.run=^TestServeUntilKilled$")
	cmd.Env = append(os.Environ(), "UVS_TEST_VICTIM="+v.dir, fmt.Sprintf("UVS_TEST_DONE=%d %d", v.opened, v.changed))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	mustDo(v.t, err)
	mustDo(v.t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	said := bufio.NewReader(out)
	if line, _ := said.ReadString('\n'); line != "ready\n" {
		rest, _ := io.ReadAll(said)
		v.t.Fatalf("the victim says %s%s", line, rest)
	}
	time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
	for {
		line, err := said.ReadString('\n')
		if err != nil {
			return // of a line that was cut off the work is done, too, but nobody relies on it
		}
		switch line {
		case "connection\n":
			v.opened++
		case "change\n":
			change(v.wanted, v.changed)
			v.changed++
		default:
			rest, _ := io.ReadAll(said)
			v.t.Fatalf("the victim says %s%s", line, rest)
		}
	}
}

// check adopts what the victim has left, twice.
func (v *victims) check() {
	v.t.Helper()
	first := v.adopt()
	if diff := cmp.Diff(first, v.adopt(), sameAddrs, timeless); diff != "" {
		v.t.Errorf("the second time something else was adopted:\n%s", diff)
	}
}

var (
	sameAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})
	timeless  = cmpopts.IgnoreFields(config.ServerState{}, "DrainLeft")
)

// kept is what a director has adopted.
type kept struct {
	Services    []config.ServiceState
	Totals      config.Stats
	Marks       []config.MarkRule
	Connections map[string]string
	Counters    map[string]uint64
}

func (v *victims) adopt() (all kept) {
	v.t.Helper()
	st := openKept(v.t, v.dir)
	defer st.Unmap()
	defer st.Close()
	if !st.Adopted() {
		v.t.Fatal("the state was refused")
	}
	var log bytes.Buffer
	b := newTestbedWith(v.t, "", Config{MaxConns: victimConns, State: st, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if said := log.String(); !strings.Contains(said, `"without server"=0 twice=0`) {
		v.t.Errorf("the adoption says %s", said)
	}
	all = kept{Services: b.fw.Services(), Totals: b.fw.Totals(), Marks: b.fw.Marks(), Connections: map[string]string{}, Counters: b.fw.Counters()}
	delete(all.Counters, "goroutines") // of the process, not of the director
	for _, c := range b.fw.Connections() {
		all.Connections[c.Client.String()+c.Virtual.String()] = fmt.Sprint(c.Server, c.Local, c.Method, c.State, c.Template, c.ServerNow)
	}
	v.checkServices(all.Services, all.Marks)
	v.checkConnections(b, &all)
	v.checkCounters(b)
	b.fw.conns.Close()
	return all
}

// checkServices compares the services that change with what they should be: a change
// that was not reported may be made, or not.
func (v *victims) checkServices(services []config.ServiceState, marks []config.MarkRule) {
	v.t.Helper()
	got := words(services, marks)
	before := words(v.wanted.Services(), v.wanted.Marks())
	if got == before {
		return
	}
	change(v.wanted, v.changed)
	v.changed++
	if after := words(v.wanted.Services(), v.wanted.Marks()); got != after {
		v.t.Errorf("after %d changes the services are\n%s\nnot\n%s\nnor\n%s", v.changed, got, before, after)
	}
}

// words describes the services that change.
func words(services []config.ServiceState, marks []config.MarkRule) string {
	var b strings.Builder
	for _, s := range services {
		if s.Addr == lastingAddr {
			continue
		}
		fmt.Fprintf(&b, "%+v", s.Service)
		for _, server := range s.Servers {
			fmt.Fprintf(&b, " %+v", server.Server)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprint(&b, marks)
	return b.String()
}

var lastingAddr = netip.MustParseAddr("10.2.0.1")

// checkConnections looks for each connection that a victim has reported, and counts
// those of each server.
func (v *victims) checkConnections(b *testbed, all *kept) {
	v.t.Helper()
	for i := range v.opened {
		client, virtual := lastingConn(i)
		if got := all.Connections[client+virtual]; !strings.Contains(got, "ESTABLISHED") {
			v.t.Errorf("connection %d of %d, %s to %s, is %q", i, v.opened, client, virtual, got)
			return
		}
	}
	counted := map[sched.ID]uint32{}
	r := b.fw.conns.Reader()
	defer r.Close()
	for _, c := range b.fw.Connections() {
		counted[c.ServerNow]++
	}
	for _, s := range all.Services {
		for _, server := range s.Servers {
			if n := server.Active + server.Inactive + server.Persistent; n != counted[server.ID] {
				v.t.Errorf("server %s of %s counts %d connections and has %d", server.AddrPort(), s.Key, n, counted[server.ID])
			}
		}
	}
}

// checkCounters holds that nothing reported was forgotten, and that the counters agree
// but for the last batch.
func (v *victims) checkCounters(b *testbed) {
	v.t.Helper()
	var conns, packets uint64
	for svc := range b.fw.Load().All() {
		var sum service.Traffic
		for _, s := range svc.Servers {
			t := s.Counters.Load()
			sum.Conns += t.Conns
			sum.InPkts += t.InPkts
		}
		if svc.Addr != lastingAddr {
			continue // they may have lost servers
		}
		t := svc.Counters.Load()
		if apart(sum.InPkts, t.InPkts) > batchSize || apart(sum.Conns, t.Conns) > batchSize {
			v.t.Errorf("service %s counts %+v, its servers %+v", svc.Key, t, sum)
		}
		conns += t.Conns
		packets += t.InPkts
	}
	for _, a := range b.fw.Accounts() {
		if a.Difference != 0 {
			v.t.Errorf("%v; difference %+d", &a, a.Difference)
		}
	}
	if n := b.verdict(frame.Forward); n < 3*uint64(v.opened) {
		v.t.Errorf("%d frames were forwarded, of %d connections", n, v.opened)
	}
	total := b.fw.Total.Load()
	// A kill may come after a frame was sent and before its batch was published.
	if conns+batchSize < uint64(v.opened) || total.Conns+batchSize < conns || total.InPkts+batchSize < packets {
		v.t.Errorf("of %d connections the services count %d with %d packets, the director %+v", v.opened, conns, packets, total)
	}
}

func apart(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// lastingConn is a connection that a victim opens.
func lastingConn(i int) (client, virtual string) {
	return fmt.Sprintf("172.16.%d.%d:%d", i>>8&0xff, i&0xff, 2000+i>>16), fmt.Sprintf("10.2.0.1:%d", 80+i%4)
}

// change makes the change with a number: the same to any table. What it may not do it
// does to none.
func change(d interface {
	Apply([]config.Command, bool) []error
	AddMark(config.MarkRule) error
	DeleteMark(config.MarkRule) error
}, n int) {
	r := rand.New(rand.NewPCG(uint64(n), 12))
	key := config.Key{Proto: config.TCP, Addr: netip.AddrFrom4([4]byte{10, 2, 1, byte(r.IntN(4))}), Port: 80}
	server := config.Server{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(1 + r.IntN(3))}), Port: 80, Method: sched.Masq, Weight: r.Int32N(3)}
	mark := config.MarkRule{Proto: config.TCP, DstPorts: config.PortRange{First: 443, Last: 443}, Mark: r.Uint32N(5)}
	of := &config.Service{Key: key}
	switch r.IntN(8) {
	case 0:
		_ = d.AddMark(mark)
	case 1:
		_ = d.DeleteMark(mark)
	case 2:
		d.Apply([]config.Command{{Op: config.OpDeleteService, Service: of}}, false)
	case 3:
		d.Apply([]config.Command{{Op: config.OpDeleteServer, Service: of, Server: &server}}, false)
	case 4:
		d.Apply([]config.Command{{Op: config.OpEditServer, Service: of, Server: &server},
			{Op: config.OpSetPolicy, Service: of, Policy: config.Policy{Gone: config.GoneReset, Drain: r.Uint32N(3)}}}, true)
	default:
		d.Apply([]config.Command{{Op: config.OpAddService, Service: &config.Service{Key: key, Scheduler: "wlc"}},
			{Op: config.OpAddServer, Service: of, Server: &server}}, false)
	}
}

// TestServeUntilKilled is the victim.
func TestServeUntilKilled(t *testing.T) {
	dir := os.Getenv("UVS_TEST_VICTIM")
	if dir == "" {
		t.Skip("only for a process that another test starts")
	}
	var opened, changed int
	fmt.Sscan(os.Getenv("UVS_TEST_DONE"), &opened, &changed)
	st := openKept(t, dir)
	rules := victimRules
	if st.Adopted() {
		rules = ""
	}
	b := newTestbedWith(t, rules, Config{MaxConns: victimConns, State: st})
	fmt.Println("ready")
	go func() {
		for n := changed; ; n++ {
			change(b.fw, n)
			os.Stdout.WriteString("change\n")
			time.Sleep(100 * time.Microsecond) // connections get their share of few processors
		}
	}()
	go func() {
		for now := time.Now(); ; now = now.Add(time.Minute) {
			b.fw.Tick(now) // sweeps, too
			b.fw.conns.Sweep(b.fw.now(), sweepSlots)
			time.Sleep(time.Millisecond)
		}
	}()
	for i := opened; ; i++ {
		client, virtual := lastingConn(i)
		b.talk(client, virtual, i)
		os.Stdout.WriteString("connection\n")
	}
}

// talk opens a connection and sends data; a server whose packets come back answers.
func (b *testbed) talk(client, virtual string, i int) {
	out := b.send(1, at(b.t, 1, client, virtual, syn, 999, 0, ""))
	if len(out) != 1 {
		b.t.Fatalf("the SYN from %s to %s brings %v", client, virtual, b.words(out))
	}
	if i%4 < 2 {
		f := flowOf(out[0].b)
		from, to := netip.AddrPortFrom(f.Dst(), f.DstPort()), netip.AddrPortFrom(f.Src(), f.SrcPort())
		b.send(2, at(b.t, 2, from.String(), to.String(), syn|ack, 5000, 1000, ""))
	}
	b.send(1, at(b.t, 1, client, virtual, ack, 1000, 5001, ""))
	b.send(1, at(b.t, 1, client, virtual, ack, 1000, 5001, "data"))
	// To services that change meanwhile; nobody relies on these.
	b.send(1, at(b.t, 1, client, fmt.Sprintf("10.2.1.%d:80", i%4), syn, 999, 0, ""))
}
