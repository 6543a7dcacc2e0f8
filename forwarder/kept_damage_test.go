package forwarder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"uvs/conntrack"
	"uvs/forwarder/state"
)

// TestConnectionsThatCannotBeBelievedAreRefusedByName changes the file of connections
// that a killed director has left.
func TestConnectionsThatCannotBeBelievedAreRefusedByName(t *testing.T) {
	const entry = conntrack.HeaderSize + 3*conntrack.ConnSize
	for _, tt := range []struct {
		name   string
		damage func(b []byte) []byte
		says   string
	}{
		{"cut behind the header", func(b []byte) []byte { return b[:conntrack.HeaderSize+1] }, "bytes of memory"},
		{"cut in the header", func(b []byte) []byte { return b[:100] }, "truncated"},
		{"cut by a byte", func(b []byte) []byte { return b[:len(b)-1] }, "bytes of memory"},
		{"with one byte more", func(b []byte) []byte { return append(b, 0) }, "bytes of memory"},
		{"with another client", flip(entry + 24), "checksum"},
		{"with another header", flip(20), "header"},
		{"of something else", flip(0), "no connection table"},
		{"of a newer layout", newerLayout, "made by a newer uvs"},
		{"of another state", anotherBase, "another state"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeirs(t, keptRules)
			for i := range 9 {
				h.open(fmt.Sprintf("172.16.0.%d:3000", i+1), "10.2.0.1:81")
			}
			mustDo(t, h.state.Release())
			file := filepath.Join(h.dir, connsFile)
			b, err := os.ReadFile(file)
			mustDo(t, err)
			mustDo(t, os.WriteFile(file, tt.damage(b), 0o600))
			s, err := state.Open(state.Options{Dir: h.dir})
			mustDo(t, err)
			defer s.Close()
			fw, err := New(Config{MaxConns: 1 << 12, State: s})
			if err == nil {
				t.Fatal("it is taken for a table", fw.Close())
			}
			var refused *state.Refused
			if !errors.As(err, &refused) || refused.File != connsFile || !strings.Contains(refused.Why, tt.says) {
				t.Errorf("refused as %v, want %q", err, tt.says)
			}
		})
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 1; return b }
}

// newerLayout makes the header one of the layout after this program's.
func newerLayout(b []byte) []byte { return withHeader(b, 8, func(v []byte) { v[0]++ }) }

func anotherBase(b []byte) []byte { return withHeader(b, 16, func(v []byte) { v[0]++ }) }

// withHeader changes a field of the header, and its checksum with it.
func withHeader(b []byte, at int, change func([]byte)) []byte {
	b = slices.Clone(b)
	change(b[at:])
	binary.NativeEndian.PutUint32(b[40:], crc32.Checksum(b[:40], crc32.MakeTable(crc32.Castagnoli)))
	return b
}
