package state

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// After any sequence of commits the next process finds the last value of each key, and
// the log stays short.
func TestTheLogIsAMapThatOutlivesTheProcess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		must(t, err)
		s, err := Open(Options{Dir: dir})
		must(t, err)
		want := map[uint32]string{}
		live := 0
		for range rapid.IntRange(1, 60).Draw(rt, "commits") {
			var changes []Change
			for range rapid.IntRange(1, 20).Draw(rt, "changes") {
				n := rapid.Uint32Range(0, 15).Draw(rt, "number")
				if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
					changes = append(changes, Change{Key: Key{kind, n}})
					delete(want, n)
					continue
				}
				value := fmt.Sprint(n, "=", string(make([]byte, rapid.IntRange(0, 4000).Draw(rt, "length"))))
				changes = append(changes, Change{Key{kind, n}, []byte(value)})
				want[n] = value
			}
			s.Commit(changes...)
		}
		for _, v := range want {
			live += len(v) + recordHeader
		}
		if got := int(s.records.live); got != live {
			rt.Errorf("%d bytes are valid, counted are %d", live, got)
		}
		if n := int(s.records.end - s.records.start); n > 2*live+spare+20*8000 {
			rt.Errorf("the log has %d bytes, %d are valid", n, live)
		}
		must(t, s.Close())
		s.Unmap()
		s, err = Open(Options{Dir: dir})
		must(t, err)
		defer s.Unmap()
		defer s.Close()
		got := map[uint32]string{}
		all, err := s.Records(kind)
		must(t, err)
		for _, r := range all {
			got[r.Number] = string(r.Value)
		}
		if !s.Adopted() || !maps.Equal(got, want) {
			rt.Errorf("found are %d values, want %d", len(got), len(want))
		}
	})
}

// The memory that the log has left behind is given back.
func TestTheLogGivesMemoryBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	value := make([]byte, 1000)
	for range 5000 {
		s.Commit(Change{Key{kind, rand.Uint32N(50)}, value})
	}
	if s.records.start < 1<<20 {
		t.Errorf("after %d bytes the log begins at %d", s.records.end, s.records.start)
	}
	if used := blocks(t, filepath.Join(dir, configName)); used > 1<<20 {
		t.Errorf("it uses %d bytes", used)
	}
}

// What a newer program has configured cannot be left out.
func TestRecordsOfANewerProgramAreRefused(t *testing.T) {
	for _, k := range []Key{{Call + 1, 1}, {Setting, settings}, {Director, directors}, {0, 0}} {
		dir := t.TempDir()
		s := open(t, dir)
		s.Commit(Change{k, []byte("new")})
		must(t, s.Close())
		var log bytes.Buffer
		s, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		if s.Adopted() || !strings.Contains(log.String(), "config: made by a newer uvs: it has a record of kind ") {
			t.Errorf("%+v: %s", k, log.String())
		}
		must(t, s.Close())
		s.Unmap()
	}
}

// A file system without room loses no change: it is made when there is room again, and
// both are told once.
func TestChangesThatFindNoRoomAreMadeLater(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	s, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	s.Commit(Change{Key{kind, 1}, []byte("one")})
	file := s.records.file
	s.records.file, err = os.Open(filepath.Join(dir, configName)) // which cannot be written to
	must(t, err)
	log.Reset()
	s.Commit(Change{Key{kind, 2}, []byte("two")})
	s.Commit(Change{Key{kind, 1}, nil})
	s.records.file.Close()
	s.records.file = file
	s.Commit()
	s.Commit(Change{Key{kind, 3}, []byte("three")})
	if said := log.String(); strings.Count(said, "a kill would lose") != 1 || strings.Count(said, "kept again") != 1 {
		t.Errorf("logged %s", said)
	}
	must(t, s.Close())
	s.Unmap()
	if got := contents(open(t, dir)); got != "2=two 3=three " {
		t.Errorf("kept are %q", got)
	}
}

// A file of any contents is refused or read, and what was read can be written to.
func FuzzRecords(f *testing.F) {
	r := &records{index: map[uint64]span{}}
	r.stage(Key{Server, 2}, []byte("one"), 0)
	r.stage(Key{Server, 3}, []byte("two"), 0)
	r.stage(Key{Server, 2}, nil, 1)
	f.Add(r.staged, int64(0), int64(len(r.staged)))
	f.Add(r.staged, int64(recordHeader+3), int64(len(r.staged)))
	f.Add(r.staged[:20], int64(0), int64(40))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, log []byte, start, end int64) {
		p, err := openDirectory(filepath.Join(dir, "state"), discard)
		must(t, err)
		defer p.close()
		c, err := newCounters(p)
		must(t, err)
		defer c.unmap()
		defer c.close()
		must(t, os.WriteFile(filepath.Join(dir, "state", configName), log, 0o600))
		must(t, os.Chmod(filepath.Join(dir, "state", configName), 0o600))
		c.commit().store(start, end)
		c.commit().store(start, end)
		r, err := openRecords(p, c)
		if err != nil {
			return
		}
		defer r.close()
		was := slices.Collect(maps.Keys(r.index))
		for _, k := range was {
			r.stage(unpacked(k), []byte("new"), 0)
		}
		must(t, r.write())
	})
}

// A file of any contents is no identity, or one that its text gives again.
func FuzzIdentity(f *testing.F) {
	id := ownIdentity(1)
	f.Add(id.text())
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := parseIdentity(text)
		if err != nil {
			return
		}
		_ = id.check(1)
		if again, err := parseIdentity(id.text()); err != nil || *again != *id {
			t.Errorf("%+v gives %+v, %v", id, again, err)
		}
	})
}

// A file of any contents is refused, or has counters that can be used.
func FuzzCounters(f *testing.F) {
	dir := f.TempDir()
	p, err := openDirectory(filepath.Join(dir, "state"), discard)
	if err != nil {
		f.Fatal(err)
	}
	c, err := newCounters(p)
	if err != nil {
		f.Fatal(err)
	}
	c.counter("frames").Add(1)
	f.Add(c.head[:200], c.head[pageSize:pageSize+100], uint32(headSize))
	f.Add([]byte(nil), []byte(nil), uint32(headSize+chunkSize))
	f.Fuzz(func(t *testing.T, head, names []byte, size uint32) {
		b := make([]byte, max(int(size%(headSize+2*chunkSize)), len(head), pageSize+len(names)))
		copy(b, head)
		copy(b[pageSize:], names)
		must(t, os.WriteFile(filepath.Join(dir, "state", countersName), b, 0o600))
		c, err := openCounters(p)
		if err != nil || c == nil {
			return
		}
		defer c.unmap()
		defer c.close()
		_, _, _ = c.commit().load()
		for i := range 3 {
			if at := c.counter(fmt.Sprint("counter ", i)); at != nil {
				at.Add(1)
			}
		}
		for n := range c.next {
			c.slot(n)[0]++
		}
	})
}

func BenchmarkOneChangeBesideMany(b *testing.B) {
	for _, many := range []int{0, 200_000} {
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			value := make([]byte, 150)
			for n := range many {
				s.Commit(Change{Key{kind, uint32(n) + 10}, value})
			}
			for b.Loop() {
				s.Commit(Change{Key{kind, rand.Uint32N(10)}, value})
			}
		})
	}
}

var discard = slog.New(slog.DiscardHandler)

// blocks returns how much memory a file takes, in bytes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}
