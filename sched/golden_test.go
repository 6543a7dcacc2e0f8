package sched_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// trace is one recording from Linux 6.1 IPVS: ipvsadm commands that set a
// service up, events, the server each packet went to, and the listing at the
// end.
type trace struct {
	Name    string
	Sched   string
	Setup   []string
	Events  [][]any
	Results []any
	Final   string
}

// traces reads a file of them.
func traces(t *testing.T, file string) []trace {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []trace
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var tr trace
		if err := json.Unmarshal(lines.Bytes(), &tr); err != nil {
			t.Fatal(err)
		}
		all = append(all, tr)
	}
	return all
}

// recorded.jsonl has traces for all schedulers; asked.jsonl more of them, and
// answers to single questions: schedulers changed under connections, edits in
// the middle of a round, the removal of the server chosen last, sets that grow,
// thresholds changed under load.
func TestPicksAreThoseOfLinux(t *testing.T) {
	for _, tr := range append(traces(t, "recorded.jsonl"), traces(t, "asked.jsonl")...) {
		t.Run(tr.Sched+"/"+tr.Name, func(t *testing.T) {
			d := newDirector(t)
			for _, words := range tr.Setup {
				d.ipvsadm(words)
			}
			var got []any
			for _, ev := range tr.Events {
				got = append(got, d.event(ev))
			}
			if diff := cmp.Diff(tr.Results, got); diff != "" {
				t.Errorf("picks (-kernel +uvs):\n%s", diff)
			}
			if diff := cmp.Diff(listed(tr.Final), d.listing()); diff != "" {
				t.Errorf("final weights and counts (-kernel +uvs):\n%s", diff)
			}
		})
	}
}

// director is as much of IPVS as a trace needs: one service, its scheduler, and
// a count of connections. Only those reset expire, and only if a trace waits.
type director struct {
	t         *testing.T
	scheduler sched.Scheduler
	onePacket bool
	servers   []*sched.RealServer // in order of addition
	trash     map[netip.AddrPort]*sched.RealServer
	conns     map[any]*conn
	known     map[frame.Flow]*conn // UDP
	lastID    sched.ID
}

type conn struct {
	server      *sched.RealServer
	established bool
	closed      bool
}

func newDirector(t *testing.T) *director {
	return &director{
		t:     t,
		trash: map[netip.AddrPort]*sched.RealServer{},
		conns: map[any]*conn{},
		known: map[frame.Flow]*conn{},
	}
}

// ipvsadm runs the few commands that occur in traces.
func (d *director) ipvsadm(line string) {
	words := strings.Fields(line)
	arg := map[string]string{}
	for i, w := range words {
		if strings.HasPrefix(w, "-") && i+1 < len(words) {
			arg[w] = words[i+1]
		}
	}
	switch words[0] {
	case "-A", "-E":
		d.service(arg["-s"], arg["-b"])
		d.onePacket = strings.Contains(line+" ", " -o ")
	case "-a":
		d.add(d.settings(arg))
	case "-e":
		addr, w, upper, lower := d.settings(arg)
		s := d.server(addr)
		s.SetWeight(w)
		s.SetThresholds(upper, lower)
		d.scheduler.Update(s)
	case "-d":
		addr, _, _, _ := d.settings(arg)
		d.remove(addr)
	default:
		d.t.Fatalf("ipvsadm %s", line)
	}
}

func (d *director) service(name, flag string) {
	flags := map[string]sched.Flags{
		"sh-port": sched.Port, "mh-port": sched.Port,
		"sh-fallback": sched.Fallback, "mh-fallback": sched.Fallback,
	}[flag]
	if d.scheduler != nil && d.scheduler.Name() == name {
		sched.SetFlags(d.scheduler, flags)
		return
	}
	s, err := sched.New(name, flags)
	if err != nil {
		d.t.Fatal(err)
	}
	sched.AddAll(s, d.servers)
	d.scheduler = s
}

func (d *director) settings(arg map[string]string) (addr netip.AddrPort, weight int32, upper, lower uint32) {
	num := func(s string) int {
		n, _ := strconv.Atoi(s)
		return n
	}
	addr, err := netip.ParseAddrPort(arg["-r"])
	if err != nil {
		addr = netip.AddrPortFrom(netip.MustParseAddr(arg["-r"]), 0)
	}
	return addr, int32(num(arg["-w"])), uint32(num(arg["-x"])), uint32(num(arg["-y"]))
}

func (d *director) server(addr netip.AddrPort) *sched.RealServer {
	for _, s := range d.servers {
		if s.Addr == addr {
			return s
		}
	}
	d.t.Fatalf("no server %s", addr)
	return nil
}

func (d *director) add(addr netip.AddrPort, weight int32, upper, lower uint32) {
	s := d.trash[addr]
	if s != nil {
		s.Revive(weight, upper, lower)
	} else {
		d.lastID++
		s = sched.NewRealServer(d.lastID, addr, weight, upper, lower)
	}
	d.servers = append(d.servers, s)
	d.scheduler.Add(s)
}

func (d *director) remove(addr netip.AddrPort) {
	s := d.server(addr)
	d.trash[addr] = s
	d.servers = slices.DeleteFunc(slices.Clone(d.servers), func(o *sched.RealServer) bool { return o == s })
	d.scheduler.Remove(s)
}

// event plays one event and returns what a recording has for it.
func (d *director) event(ev []any) any {
	switch ev[0] {
	case "ipvs":
		d.ipvsadm(ev[1].(string))
	case "syn":
		c := d.connect(frame.ProtoTCP, ev[2:])
		if c == nil {
			return nil
		}
		d.conns[ev[1]] = c
		d.count(c.server, +1, -1) // SYN_RECV is active
		return to(c, ev[2:])
	case "udp":
		if c := d.connect(frame.ProtoUDP, ev[1:]); c != nil {
			return to(c, ev[1:])
		}
	case "est", "rst", "fin":
		if c := d.conns[ev[1]]; c != nil {
			d.segment(c, ev[0].(string))
		}
	case "wait":
		d.wait()
	default:
		d.t.Fatalf("event %v", ev)
	}
	return nil
}

// segment plays the answer of the server and the client's ACK, a reset or a FIN
// of the client. A reset in SYN_RECV leaves the connection active; packets to a
// removed server are dropped and change nothing.
func (d *director) segment(c *conn, kind string) {
	switch {
	case !slices.Contains(d.servers, c.server):
	case kind == "est":
		c.established = true
	case kind == "fin" || c.established:
		d.count(c.server, -1, +1)
		c.closed = kind == "rst"
	}
}

// wait waits for the ten seconds of CLOSE.
func (d *director) wait() {
	for key, c := range d.conns {
		if c.closed {
			d.count(c.server, 0, -1)
			delete(d.conns, key)
		}
	}
}

func (d *director) count(s *sched.RealServer, active, inactive int32) {
	s.AddCounts(active, inactive, 0)
	d.scheduler.Count(s)
}

// connect returns the connection of a packet, a new one if it has none. It
// begins inactive.
func (d *director) connect(proto uint8, ends []any) *conn {
	port := func(v any) uint16 { return uint16(v.(float64)) }
	f := frame.FlowOf(proto,
		netip.AddrPortFrom(netip.MustParseAddr(ends[0].(string)), port(ends[1])),
		netip.AddrPortFrom(netip.MustParseAddr(ends[2].(string)), port(ends[3])))
	if c := d.known[f]; c != nil {
		return c
	}
	s := d.scheduler.Pick(&f, nil)
	if s == nil {
		return nil
	}
	c := &conn{server: s}
	d.count(s, 0, +1)
	if d.onePacket {
		d.count(s, 0, -1)
	} else {
		d.known[f] = c
	}
	return c
}

// to writes the address a packet goes to: a server without a port, as those of
// a firewall mark, gets the port of the packet.
func to(c *conn, ends []any) string {
	a := c.server.Addr
	if a.Port() == 0 {
		a = netip.AddrPortFrom(a.Addr(), uint16(ends[3].(float64)))
	}
	return a.String()
}

// listed returns address, weight, active and inactive of each line of ipvsadm -Ln.
func listed(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "->" {
			all[f[1]] = strings.Join(f[3:], " ")
		}
	}
	return all
}

func (d *director) listing() map[string]string {
	all := map[string]string{}
	for _, s := range d.servers {
		all[s.Addr.String()] = fmt.Sprint(s.Weight(), s.Active(), s.Inactive())
	}
	return all
}
