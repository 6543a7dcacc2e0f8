package conntrack

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"uvs/forwarder/frame"
)

// older is a layout as the one before could be: entries are smaller and in another
// order, without the number that a server takes next, and packets are counted in 16
// bits.
var older = layout{
	version: 0,
	conn: []field{
		{"client", 0, 16}, {"virtual", 16, 16}, {"real", 32, 16}, {"local", 48, 16},
		{"client port", 64, 2}, {"virtual port", 66, 2}, {"real port", 68, 2}, {"local port", 70, 2},
		{"status", 72, 4}, {"seen", 76, 4}, {"timeout", 80, 4}, {"server", 84, 4}, {"control", 88, 4}, {"packets", 92, 2},
	},
	connLen: 96,
	ending:  []field{{"offset", 0, 4}, {"marks", 4, 4}, {"fin", 8, 8}, {"time stamp", 16, 4}},
	endLen:  24,
	sum:     func(c *Conn, e *ending) uint32 { return ^c.sum(e) },
}

// olderMemory returns memory as a program with the older layout leaves it for the
// connections of a table.
func olderMemory(table *Table) []byte {
	h := table.head
	h.Version = older.version
	at := older.place(h.Capacity + 1)
	b := make([]byte, at.size)
	h.write(b)
	conns, ends := moves(older.conn, connFields), moves(older.ending, endingFields)
	used := table.slots.used.Load()
	for slot := uint32(1); slot <= used; slot++ {
		c, e := table.conns[slot], table.endings[slot]
		carry(b[HeaderSize+int(slot)*older.connLen:][:older.connLen], connOf(&c), conns)
		carry(b[at.endings+int(slot)*older.endLen:][:older.endLen], bytesOf(&e), ends)
		binary.NativeEndian.PutUint32(b[at.sums+int(slot)*4:], older.sum(&c, &e))
	}
	storeWord(b[headerUsed:], usedWord(used))
	return b
}

func TestTheLayoutBeforeIsConverted(t *testing.T) {
	before := newTable(t, Config{Capacity: 300, Memory: newFile(t, 300).mapped(), Base: time.Hour})
	variety(t, before.Reader())
	old := olderMemory(before)
	to := newFile(t, 300).mapped()
	if left, err := convert(to, 300, old, []layout{layouts[0], older}); left != 0 || err != nil {
		t.Fatal(left, err)
	}
	after, inv := adopt(t, to, 300, 12)
	if got, want := texts(after), texts(before); !slices.Equal(got, want) {
		t.Errorf("adopted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if inv.Dangling != 0 || after.Header() != before.Header() {
		t.Errorf("%+v, header %+v", inv, after.Header())
	}
	f := frame.FlowOf(frame.ProtoTCP, ap("10.0.0.6:4000"), ap("192.0.2.1:80"))
	if c, _ := after.Reader().Lookup(&f); c == nil || after.Renumber(c) != (Renumber{SeqOffset: 12345, NoTimestamps: true}) {
		t.Error("how segments are renumbered is lost")
	}
}

func TestATableIsConvertedForAnotherNumberOfConnections(t *testing.T) {
	from := newFile(t, 300)
	before := newTable(t, Config{Capacity: 300, Memory: from.mapped()})
	variety(t, before.Reader())
	want := texts(before)
	for _, capacity := range []int{len(want), 300, 10_000} {
		to := newFile(t, capacity).mapped()
		if left, err := Convert(to, capacity, from.mapped()); left != 0 || err != nil {
			t.Fatal(left, err)
		}
		after, _ := adopt(t, to, capacity, 12)
		if got := texts(after); !slices.Equal(got, want) {
			t.Errorf("for %d connections: adopted\n%s\nwant\n%s", capacity, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	to := newFile(t, 10).mapped()
	if left, err := Convert(to, 10, from.mapped()); left != len(want)-10 || err != nil {
		t.Errorf("%d of %d connections have no place among 10: %v", left, len(want), err)
	}
	adopt(t, to, 10, 12)
}

func TestOnlyKnownLayoutsAreRead(t *testing.T) {
	table := newTable(t, Config{Capacity: 300, Memory: newFile(t, 300).mapped()})
	variety(t, table.Reader())
	old := olderMemory(table)
	newer, damaged, short := slices.Clone(old), slices.Clone(old), old[:len(old)-1]
	h := table.head
	h.Version = layouts[0].version + 1
	h.write(newer)
	damaged[HeaderSize+5*older.connLen] ^= 1
	for _, tt := range []struct {
		name  string
		from  []byte
		known []layout
		want  error
	}{
		{"a newer one", newer, []layout{layouts[0], older}, ErrNewer},
		{"one that is too old", old, layouts, ErrForeign},
		{"an entry with a flipped bit", damaged, []layout{layouts[0], older}, ErrDamaged},
		{"a file that was cut", short, []layout{layouts[0], older}, ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keep := slices.Clone(tt.from)
			if _, err := convert(newFile(t, 300).mapped(), 300, tt.from, tt.known); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if !slices.Equal(keep, tt.from) {
				t.Error("what cannot be converted was changed")
			}
		})
	}
	if _, err := New(Config{Capacity: 300, Memory: newer}); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
		t.Errorf("New takes a newer layout: %v", err)
	}
}
