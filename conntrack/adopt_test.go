package conntrack

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// file is memory that several tables may have one after the other, as processes do.
type file struct {
	t    testing.TB
	fd   int
	size int
}

// newFile returns a file for a table's memory.
func newFile(t testing.TB, capacity int) *file {
	t.Helper()
	fd, err := unix.MemfdCreate("conns", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	f := &file{t, fd, Size(capacity)}
	if err := unix.Ftruncate(fd, int64(f.size)); err != nil {
		t.Fatal(err)
	}
	return f
}

// mapped returns the file's memory, mapped once more.
func (f *file) mapped() []byte {
	f.t.Helper()
	room, err := unix.Mmap(-1, 0, f.size+hugePage, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { unix.Munmap(room) })
	at := unsafe.Pointer(&room[-uintptr(unsafe.Pointer(&room[0]))%hugePage])
	at, err = unix.MmapPtr(f.fd, 0, at, uintptr(f.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil {
		f.t.Fatal(err)
	}
	return unsafe.Slice((*byte)(at), f.size)
}

// everyServer is the Known of a test in which there are many servers. A director numbers
// those it has; the loads by number of one that knows any number would fill the memory.
func everyServer(c *Conn) bool { return c.Server < 1<<16 }

// adopt returns the table that memory holds, adopted at tick now.
func adopt(t testing.TB, b []byte, capacity int, now Tick) (*Table, Inventory) {
	t.Helper()
	table := newTable(t, Config{Capacity: capacity, Memory: b})
	if !table.Inherited() {
		t.Fatal("the memory counts as new")
	}
	inv, err := table.Adopt(Adoption{Now: now, Known: everyServer})
	if err != nil {
		t.Fatal(err)
	}
	audit(t, table)
	return table, inv
}

// audit checks that a table is consistent: each connection is found by both its
// flows, no slot is lost, and each template knows how many depend on it.
func audit(t testing.TB, table *Table) {
	t.Helper()
	r := table.Reader()
	defer r.Close()
	found, dependents := 0, map[Ref]int{}
	r.Range(func(c *Conn) bool {
		found++
		if c.Control != 0 {
			dependents[c.Control]++
		}
		f := c.RequestFlow()
		if ref := table.find(&f, table.hash(&f, c.tag()), c.tag()); !c.Has(Invalid) && ref == 0 {
			t.Errorf("%v is not found", f.String())
		}
		back := c.ReplyFlow()
		if n, isReply := r.Lookup(&back); c.Translated() && (n == nil || !isReply && n.RequestFlow() != back) {
			t.Errorf("the reply of %v is not found", f.String())
		}
		return true
	})
	r.Range(func(c *Conn) bool {
		if n := dependents[table.Ref(c)]; n != c.Controls() {
			t.Errorf("%d connections depend on one that counts %d", n, c.Controls())
		}
		return true
	})
	if n := table.Len(); n != found {
		t.Errorf("the table counts %d connections, and has %d", n, found)
	}
	spare := 0
	for _, r := range table.epochs.readers {
		spare += len(r.spare)
	}
	if used := int(table.slots.used.Load()); found+spare+int(table.slots.free.n+table.slots.waiting.n+table.slots.retired.n) != used {
		t.Errorf("of %d slots %d have a connection and %d are free", used, found, table.slots.free.n)
	}
}

// text writes what others see of a connection.
func text(c *Conn, table *Table) string {
	s := fmt.Sprintf("%s %v %v %v %v %v seen %d for %d, %d packets, flags %04x, server %d, %d depend on it",
		c.StateName(), c.Proto(), c.ClientAddr(), c.VirtualAddr(), c.RealAddr(), c.LocalAddr(),
		c.Seen(), c.Timeout(), c.Packets(), c.Flags(), c.Server, c.Controls())
	if c.Control != 0 {
		f := table.At(c.Control).RequestFlow()
		s += ", control " + f.String()
	}
	return s
}

func texts(table *Table) (all []string) {
	r := table.Reader()
	defer r.Close()
	r.Range(func(c *Conn) bool { all = append(all, text(c, table)); return true })
	slices.Sort(all)
	return all
}

// variety fills a table with connections of every kind.
func variety(t testing.TB, r *Reader) {
	t.Helper()
	table, rules := r.t, DefaultRules()
	r.Enter()
	defer r.Exit()
	add := func(c Conn, events ...Event) *Conn {
		kept, inserted := r.Insert(&c, 10)
		if !inserted {
			t.Fatalf("not inserted: %v", text(&c, table))
		}
		for i, ev := range events {
			table.Advance(kept, ev, Direction(i%2), 11, rules)
		}
		return kept
	}
	for i, m := range []sched.Method{sched.Masq, sched.Route, sched.Tunnel, sched.FullNAT, sched.Local} {
		for proto, open := range map[uint8][]Event{frame.ProtoTCP: {tcpSyn, tcpSyn, tcpAck}, frame.ProtoUDP: {Packet}, frame.ProtoSCTP: nil} {
			c := conn(proto, fmt.Sprintf("10.0.0.9:40%02d", i), "192.0.2.1:80", "10.1.0.5:8080", m)
			c.Server, c.Local, c.LocalPort = sched.ID(1+i), ap("10.3.0.1:1").Addr().As16(), 5000+uint16(i)
			add(c, open...)
			c = conn(proto, fmt.Sprintf("[fd00:c::9]:40%02d", i), "[fd00::1]:80", "[fd00:1::5]:80", m)
			c.Server, c.Local, c.LocalPort = sched.ID(1+i), ap("[fd00:3::1]:1").Addr().As16(), 6000+uint16(i)
			add(c, open...)
		}
	}
	template := conn(frame.ProtoTCP, "10.0.0.0:0", "192.0.2.1:0", "10.1.0.5:0", sched.Masq)
	template.SetFlags(Template)
	template.ClearFlags(Inactive)
	template.Server = 1
	template.SetTimeout(Seconds(300))
	ct := add(template)
	for i := range 3 {
		c := conn(frame.ProtoTCP, fmt.Sprintf("10.0.0.8:40%02d", i), "192.0.2.1:80", "10.1.0.5:8080", sched.Masq)
		c.Server, c.Control = 1, table.Ref(ct)
		add(c, tcpSyn, tcpSyn, tcpAck)
	}
	control := conn(frame.ProtoTCP, "10.0.0.7:4000", "192.0.2.1:21", "10.1.0.5:21", sched.Masq)
	control.SetFlags(Helped)
	control.Server, control.Control = 1, table.Ref(ct)
	ftp := add(control, tcpSyn, tcpSyn, tcpAck)
	*table.Notes(ftp) = [5]uint32{1, 2, 3, 4, 5}
	data := conn(frame.ProtoTCP, "10.0.0.7:0", "192.0.2.1:2020", "10.1.0.5:2020", sched.Masq)
	data.SetFlags(NoClientPort | Helped)
	data.Server, data.Control = 1, table.Ref(ftp)
	data.Listen(rules)
	add(data)
	renumbered := conn(frame.ProtoTCP, "10.0.0.6:4000", "192.0.2.1:80", "10.1.0.5:8080", sched.FullNAT)
	renumbered.Server, renumbered.Local, renumbered.LocalPort = 4, ap("10.3.0.1:1").Addr().As16(), 5099
	if _, inserted := r.InsertRenumbered(&renumbered, Renumber{SeqOffset: 12345, NoTimestamps: true}, 10); !inserted {
		t.Fatal("not inserted")
	}
	over := add(conn(frame.ProtoTCP, "10.0.0.5:4000", "192.0.2.1:80", "10.1.0.5:8080", sched.Masq))
	r.Remove(over, 11)
}

func TestWhatATableHeldIsThereAfterAdoption(t *testing.T) {
	f := newFile(t, 300)
	before := newTable(t, Config{Capacity: 300, Memory: f.mapped(), Base: time.Hour})
	variety(t, before.Reader())
	want := texts(before)
	after, inv := adopt(t, f.mapped(), 300, 12)
	if got := texts(after); !slices.Equal(got, want) {
		t.Errorf("adopted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if after.Header() != before.Header() || after.Header().Base != time.Hour {
		t.Errorf("header %+v, want %+v", after.Header(), before.Header())
	}
	if inv.Conns != len(want)-1 || inv.Templates != 1 || inv.Expired+inv.Unknown+inv.Duplicates+inv.Dangling != 0 {
		t.Errorf("%+v", inv)
	}
	for id, want := range map[sched.ID]Load{
		1: {Active: 6, Inactive: 5, Persistent: 1, Translated: 11},
		2: {Active: 2, Inactive: 4},
		4: {Active: 2, Inactive: 5, Translated: 7},
	} {
		if inv.Servers[id] != want {
			t.Errorf("server %d has %+v, want %+v", id, inv.Servers[id], want)
		}
	}
	r := after.Reader()
	f21 := frame.FlowOf(frame.ProtoTCP, ap("10.0.0.7:4000"), ap("192.0.2.1:21"))
	if c, _ := r.Lookup(&f21); c == nil || *after.Notes(c) != [5]uint32{1, 2, 3, 4, 5} {
		t.Error("the notes about FTP's control connection are lost")
	}
	any := frame.FlowOf(frame.ProtoTCP, ap("10.0.0.7:3333"), ap("192.0.2.1:2020"))
	if c := r.Expected(&any); c == nil {
		t.Error("a connection is not expected any longer")
	}
	by := frame.FlowOf(frame.ProtoTCP, ap("10.0.0.6:4000"), ap("192.0.2.1:80"))
	if c, _ := r.Lookup(&by); c == nil || after.Renumber(c) != (Renumber{SeqOffset: 12345, NoTimestamps: true}) {
		t.Error("how segments are renumbered is lost")
	}
}

func TestAnAdoptedTableGoesOnLikeAnyOther(t *testing.T) {
	const capacity = 5000
	f := newFile(t, capacity)
	r := newTable(t, Config{Capacity: capacity, Memory: f.mapped()}).Reader()
	for i := range 4000 {
		c := nthConn(i)
		r.Insert(&c, 1)
	}
	for i := range 2000 {
		c := nthConn(2 * i)
		flow := c.RequestFlow()
		n, _ := r.Lookup(&flow)
		r.Remove(n, 1)
	}
	gone := 0
	after := newTable(t, Config{Capacity: capacity, Memory: f.mapped(), Gone: func(*Conn) { gone++ }})
	if _, err := after.Adopt(Adoption{Now: 2, Known: func(*Conn) bool { return true }}); err != nil {
		t.Fatal(err)
	}
	r = after.Reader()
	for i := range 1500 {
		c := nthConn(10_000 + i)
		if _, inserted := r.Insert(&c, 2); !inserted {
			t.Fatalf("connection %d not inserted", i)
		}
	}
	audit(t, after)
	for now := Tick(3); now < 200; now += 10 {
		after.Sweep(now, 1<<20)
	}
	if after.Len() != 0 || gone == 0 {
		t.Errorf("%d connections left, %d gone", after.Len(), gone)
	}
	audit(t, after)
}

func TestAdoptionAfterAPauseEndsWhatShouldHaveExpired(t *testing.T) {
	f := newFile(t, 300)
	r := newTable(t, Config{Capacity: 300, Memory: f.mapped()}).Reader()
	variety(t, r)
	after, inv := adopt(t, f.mapped(), 300, 11+Seconds(301)) // UDP and the template: 300 s; established: 900 s
	if inv.Expired == 0 {
		t.Errorf("nothing has expired: %+v", inv)
	}
	after.Sweep(11+Seconds(301), 1000)
	after.Reader().Range(func(c *Conn) bool {
		if c.Expires(11+Seconds(301)) <= 0 {
			t.Errorf("should have expired: %v", text(c, after))
		}
		return true
	})
	_, inv = adopt(t, f.mapped(), 300, 11+Seconds(1<<20))
	if inv.Conns > 1 {
		t.Errorf("after 12 days there are still connections: %+v", inv)
	}
}

func TestConnectionsOfAnUnknownServerAreNotKept(t *testing.T) {
	f := newFile(t, 300)
	r := newTable(t, Config{Capacity: 300, Memory: f.mapped()}).Reader()
	variety(t, r)
	template := func(c *Conn) bool { return !c.Has(Template) && c.Server != 4 }
	after := newTable(t, Config{Capacity: 300, Memory: f.mapped()})
	inv, err := after.Adopt(Adoption{Now: 12, Known: template})
	if err != nil {
		t.Fatal(err)
	}
	audit(t, after)
	if inv.Unknown != 8 || inv.Dangling != 4 || inv.Templates != 0 || inv.Servers[4] != (Load{}) {
		t.Errorf("%+v", inv)
	}
	_, inv = adopt(t, f.mapped(), 300, 12)
	if inv.Unknown+inv.Dangling != 0 {
		t.Errorf("the memory still holds them: %+v", inv)
	}
}

func TestMemoryThatHoldsNothingIsNew(t *testing.T) {
	f := newFile(t, 300)
	first := newTable(t, Config{Capacity: 300, Memory: f.mapped()})
	if first.Inherited() {
		t.Error("zeros count as a table")
	}
	second, inv := adopt(t, f.mapped(), 300, 1)
	if inv.Conns != 0 || second.Len() != 0 {
		t.Errorf("%+v", inv)
	}
	begun := newFile(t, 300).mapped()
	copy(begun[headerVersion:headerUsed], f.mapped()[headerVersion:])
	if newTable(t, Config{Capacity: 300, Memory: begun}).Inherited() {
		t.Error("a header that was not finished counts as a table")
	}
}

func TestLocalPortsInUseAreNotGivenAgain(t *testing.T) {
	const n = 40
	f := newFile(t, 300)
	table := newTable(t, Config{Capacity: 300, Memory: f.mapped()})
	ports, err := NewPorts(table, 5000, 5000+2*n)
	if err != nil {
		t.Fatal(err)
	}
	r, used := table.Reader(), map[uint16]bool{}
	var all []*Conn
	for i := range n {
		c := conn(frame.ProtoTCP, fmt.Sprintf("10.0.0.9:%d", 4000+i), "192.0.2.1:80", "10.1.0.1:80", sched.FullNAT)
		c.Local, c.Server = ap("10.3.0.1:1").Addr().As16(), 1
		c.LocalPort, _, _ = ports.Allocate(PortKeyOf(&c))
		c.SetTimeout(Seconds(60))
		used[c.LocalPort] = true
		kept, _ := r.Insert(&c, Tick(10+i))
		all = append(all, kept)
		ports.Observe(kept, &Segment{Flags: frame.FlagSYN, Seq: 100}, Request)
	}
	for _, c := range []*Conn{all[7], all[3]} { // over, in this order; 3 was seen before
		ports.Observe(c, &Segment{Flags: frame.FlagFIN | frame.FlagACK, Seq: 101, Ack: 201}, Request)
		ports.Observe(c, &Segment{Flags: frame.FlagFIN | frame.FlagACK, Seq: 200, Ack: 102}, Reply)
		ports.Observe(c, &Segment{Flags: frame.FlagACK, Seq: 102, Ack: 201}, Request)
	}
	after := newTable(t, Config{Capacity: 300, Memory: f.mapped()})
	adopted, _ := NewPorts(after, 5000, 5000+2*n)
	inv, err := after.Adopt(Adoption{Now: 100, Known: everyServer, Ports: adopted})
	if err != nil || inv.Conns != n {
		t.Fatalf("%+v, %v", inv, err)
	}
	if live, over := counted(adopted); live != n-2 || over != 2 {
		t.Errorf("%d live and %d over, want %d and 2", live, over, n-2)
	}
	k := PortKeyOf(all[0])
	for range n + 1 {
		port, _, ok := adopted.Allocate(k)
		if !ok || used[port] {
			t.Fatalf("port %d: %v", port, ok)
		}
		used[port] = true
	}
	r = after.Reader()
	r.Enter()
	if port, past, ok := adopted.Reuse(r, k, 100); !ok || port != all[3].LocalPort || past.RcvNext != 102 {
		t.Errorf("port %d after %+v, want %d", port, past, all[3].LocalPort)
	}
}

func TestOfTwoConnectionsWithOnePortTheOneThatGaveItIsNotKept(t *testing.T) {
	f := newFile(t, 300)
	table := newTable(t, Config{Capacity: 300, Memory: f.mapped()})
	r := table.Reader()
	for i := range 2 {
		c := conn(frame.ProtoTCP, fmt.Sprintf("10.0.0.9:%d", 4000+i), "192.0.2.1:80", "10.1.0.1:80", sched.FullNAT)
		c.Local, c.LocalPort, c.Server = ap("10.3.0.1:1").Addr().As16(), 5001, 1
		kept, _ := r.Insert(&c, 10)
		if i == 0 {
			table.ending(kept).portState = portGiven // as Reuse leaves it if it is killed then
		}
	}
	after := newTable(t, Config{Capacity: 300, Memory: f.mapped()})
	ports, _ := NewPorts(after, 5000, 6000)
	inv, err := after.Adopt(Adoption{Now: 11, Known: everyServer, Ports: ports})
	if err != nil || inv.Conns != 1 || inv.Duplicates != 1 || inv.Servers[1].Inactive != 1 {
		t.Fatalf("%+v, %v", inv, err)
	}
	audit(t, after)
	after.Reader().Range(func(c *Conn) bool {
		if c.ClientPort != 4001 {
			t.Errorf("kept %v", text(c, after))
		}
		return true
	})
}
