package conntrack

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// TestDamageIsRefusedByName changes one thing each in the memory of a table.
func TestDamageIsRefusedByName(t *testing.T) {
	const slot = 5
	for _, tt := range []struct {
		name   string
		damage func(b []byte, old *Table)
		want   error
		says   string
	}{
		{"another magic number", func(b []byte, _ *Table) { b[0] ^= 1 }, ErrForeign, "tvsconns"},
		{"a header with another base", func(b []byte, _ *Table) { b[headerBase] ^= 1 }, ErrDamaged, "header"},
		{"a number of entries that has no check", func(b []byte, _ *Table) { b[headerUsed] ^= 1 }, ErrDamaged, "number of entries"},
		{"another client", func(_ []byte, old *Table) { old.conns[slot].Client[15] ^= 0x40 }, ErrDamaged, "entry 5"},
		{"another server", func(_ []byte, old *Table) { old.conns[slot].Server ^= 1 }, ErrDamaged, "checksum"},
		{"another method", func(_ []byte, old *Table) { old.conns[slot].status ^= 1 << flagShift }, ErrDamaged, "checksum"},
		{"another protocol", func(_ []byte, old *Table) { old.conns[slot].status ^= 2 }, ErrDamaged, "checksum"},
		{"another checksum", func(_ []byte, old *Table) { old.sums[slot] ^= 1 }, ErrDamaged, "checksum"},
		{"a state that does not exist", func(_ []byte, old *Table) { old.conns[slot].status |= 0x40 << stateShift }, ErrDamaged, "state"},
		{"a packet in the future", func(_ []byte, old *Table) { old.conns[slot].seen = 1 << 20 }, ErrDamaged, "future"},
		{"an endless timeout", func(_ []byte, old *Table) { old.conns[slot].timeout = 1 << 31 }, ErrDamaged, "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFile(t, 300)
			b := f.mapped()
			old := newTable(t, Config{Capacity: 300, Memory: b})
			variety(t, old.Reader())
			tt.damage(b, old)
			damaged := slices.Clone(b)
			table, err := New(Config{Capacity: 300, Memory: f.mapped()})
			if err == nil {
				t.Cleanup(func() { table.Close() })
				_, err = table.Adopt(Adoption{Now: 12, Known: everyServer})
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v with %q", err, tt.want, tt.says)
			}
			if !slices.Equal(b, damaged) {
				t.Error("a table that is refused was changed")
			}
		})
	}
}

func TestMemoryOfAnotherSizeIsRefused(t *testing.T) {
	f := newFile(t, 300)
	b := f.mapped()
	variety(t, newTable(t, Config{Capacity: 300, Memory: b}).Reader())
	for n := range 50 {
		at := n * len(b) / 50
		if _, err := New(Config{Capacity: 300, Memory: b[:max(1, at)]}); !errors.Is(err, ErrDamaged) {
			t.Errorf("truncated at byte %d: %v", at, err)
		}
	}
	if _, err := New(Config{Capacity: 301, Memory: b}); !errors.Is(err, ErrOlder) {
		t.Errorf("for another number of connections: %v", err)
	}
}

// TestOfManyConnectionsWithOneFlowTheOneThatSawMostIsKept copies an entry, as no table
// does, with the numbers of packets that the copies claim.
func TestOfManyConnectionsWithOneFlowTheOneThatSawMostIsKept(t *testing.T) {
	f := newFile(t, 300)
	old := newTable(t, Config{Capacity: 300, Memory: f.mapped()})
	r := old.Reader()
	for i := range 100 {
		c := nthConn(i)
		c.Server = 1
		r.Insert(&c, 10)
	}
	for i, packets := range []uint32{3, 9, 1} {
		n := old.conns[50]
		n.packets = packets
		old.conns[10+30*i], old.sums[10+30*i] = n, old.sums[50]
	}
	flow := old.conns[50].RequestFlow()
	after, inv := adopt(t, f.mapped(), 300, 11)
	if inv.Conns != 97 || inv.Duplicates != 3 || inv.Servers[1].Inactive != 97 {
		t.Errorf("%+v", inv)
	}
	if c, _ := after.Reader().Lookup(&flow); c == nil || c.Packets() != 9 {
		t.Errorf("kept %v", c)
	}
}

// TestRandomDamageIsRefusedOrHarmless flips bits and overwrites bytes of what is
// written in a table's memory.
func TestRandomDamageIsRefusedOrHarmless(t *testing.T) {
	f := newFile(t, 300)
	b := f.mapped()
	variety(t, newTable(t, Config{Capacity: 300, Memory: b}).Reader())
	at := layouts[0].place(301)
	spans := [][2]int{{0, HeaderSize + 60*ConnSize}, {at.sums, at.sums + 60*4}, {at.endings, at.endings + 60*endingSize}}
	refused := 0
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		bad := slices.Clone(b)
		for range 1 + rnd.IntN(4) {
			span := spans[rnd.IntN(3)]
			bad[span[0]+rnd.IntN(span[1]-span[0])] ^= 1 << rnd.IntN(8)
		}
		if !adoptAnything(t, bad, 300) {
			refused++
		}
	}
	t.Logf("%d of 400 refused", refused)
}

// adoptAnything adopts memory of unknown content if it can be, uses the table and
// lets everything expire. It reports whether the memory was adopted.
func adoptAnything(t testing.TB, b []byte, capacity int) bool {
	t.Helper()
	table, err := New(Config{Capacity: capacity, Memory: b})
	if err != nil {
		return false
	}
	defer table.Close()
	ports, _ := NewPorts(table, 5000, 6000)
	table.gone = func(c *Conn) {
		if c.takesPort() {
			ports.Release(c)
		}
	}
	if table.Inherited() {
		if _, err := table.Adopt(Adoption{Now: 1000, Known: everyServer, Ports: ports}); err != nil {
			return false
		}
	}
	audit(t, table)
	r, rules := table.Reader(), DefaultRules()
	r.Range(func(c *Conn) bool {
		_ = text(c, table)
		for ev := range tcpEvents {
			table.Advance(c, ev, Direction(ev%2), 1001, rules)
		}
		if c.takesPort() && c.hasEnding() {
			ports.Observe(c, &Segment{Flags: frame.FlagFIN | frame.FlagACK, Seq: 1, Ack: 1}, Reply)
		}
		return true
	})
	for now := Tick(1001); now < maxTick-1<<20; now = now*2 + 1 {
		table.Sweep(now, 1<<20)
	}
	table.Sweep(maxTick, 1<<20)
	r.Range(func(c *Conn) bool { return r.Remove(c, maxTick) || true })
	r.Range(func(c *Conn) bool { return r.Remove(c, maxTick) || true })
	r.Range(func(c *Conn) bool { return r.Remove(c, maxTick) || true })
	if n := table.Len(); n != 0 {
		t.Errorf("%d connections never end", n)
	}
	if live, over := counted(ports); live+over != 0 {
		t.Errorf("%d local ports stay in use", live+over)
	}
	return true
}

// FuzzAdopt adopts memory in which bytes of a real table were overwritten. In each
// group of four bytes of the input, two say where, one how, and one by what; the
// checksums are made to fit, as an attacker would, if the first byte is odd.
func FuzzAdopt(f *testing.F) {
	const capacity = 100
	mem := newFile(f, capacity)
	b := mem.mapped()
	variety(f, newTable(f, Config{Capacity: capacity, Memory: b}).Reader())
	f.Add([]byte{0, 0x10, 0x20, 0, 1})
	f.Add([]byte{1, 0x10, 0x20, 1, 0xff, 0x12, 0x44, 2, 7})
	bad := slices.Clone(b)
	at := layouts[0].place(capacity + 1)
	f.Fuzz(func(t *testing.T, in []byte) {
		copy(bad, b)
		for i := 1; i+4 <= len(in); i += 4 {
			base := []int{0, HeaderSize, HeaderSize, at.endings, at.sums}[in[i+2]%5]
			bad[(base+(int(in[i])<<8|int(in[i+1]))%((capacity+1)*ConnSize))%len(bad)] = in[i+3]
		}
		if len(in) > 0 && in[0]&1 == 1 {
			fit(t, bad, capacity)
		}
		adoptAnything(t, bad, capacity)
	})
}

// fit corrects the checksums in memory.
func fit(t testing.TB, b []byte, capacity int) {
	t.Helper()
	if _, written, err := Inspect(b); err != nil || !written {
		return
	}
	table, err := New(Config{Capacity: capacity, Memory: b})
	if err != nil {
		return
	}
	defer table.Close()
	for slot := range table.conns {
		table.sums[slot] = table.conns[slot].sum(&table.endings[slot])
	}
}

// TestNoRoomForMemoryIsAFullTable has a part of the connections' memory fault like
// a file system that is full.
func TestNoRoomForMemoryIsAFullTable(t *testing.T) {
	const capacity = 20_000
	b := newFile(t, capacity).mapped()
	table := newTable(t, Config{Capacity: capacity, Memory: b})
	full, err := unix.MemfdCreate("full", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(full)
	at := unsafe.Pointer(&b[1<<20])
	if _, err := unix.MmapPtr(full, 0, at, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		t.Fatal(err)
	}
	r, n := table.Reader(), 0
	for ; n < capacity; n++ {
		c := nthConn(n)
		if kept, inserted := r.Insert(&c, 1); kept == nil {
			break
		} else if !inserted {
			t.Fatalf("connection %d not inserted", n)
		}
	}
	if most := 1 << 20 / ConnSize; n > most || n < most*9/10 {
		t.Errorf("%d connections where there is room for %d", n, most)
	}
	if !table.Short() {
		t.Error("the table does not say that memory is short")
	}
	if err := unix.Ftruncate(full, 1<<20); err != nil {
		t.Fatal(err)
	}
	c := nthConn(n)
	if _, inserted := r.Insert(&c, 1); !inserted {
		t.Error("no connection though there is room again")
	}
	if table.Short() {
		t.Error("the table says that memory is short")
	}
	audit(t, table)
}
