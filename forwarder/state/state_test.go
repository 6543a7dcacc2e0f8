package state

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// places opens the same state again and again, in each kind of place.
var places = []struct {
	name string
	make func(t *testing.T) func(t *testing.T) (*State, error)
}{
	{"a directory", func(t *testing.T) func(t *testing.T) (*State, error) {
		dir := filepath.Join(t.TempDir(), "state")
		return func(*testing.T) (*State, error) { return Open(Options{Dir: dir, Wait: time.Millisecond}) }
	}},
	{"memory files", func(t *testing.T) func(t *testing.T) (*State, error) {
		kept := map[string]*os.File{}
		keep := func(name string, f *os.File) (err error) {
			kept[name], err = duplicate(f)
			return err
		}
		return func(t *testing.T) (*State, error) {
			given := map[string]*os.File{}
			for name, f := range kept {
				must(t, keep(name, f))
				given[name] = f
			}
			return Open(Options{Kept: given, Keep: keep, Wait: time.Millisecond})
		}
	}},
}

const kind = Call

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *State {
	t.Helper()
	s, err := Open(Options{Dir: dir, Wait: time.Millisecond})
	must(t, err)
	t.Cleanup(func() {
		s.Close()
		s.Unmap()
	})
	return s
}

// contents is what records a state has.
func contents(s *State) string {
	var b strings.Builder
	all, err := s.Records(kind)
	if err != nil {
		return err.Error()
	}
	for _, r := range all {
		fmt.Fprintf(&b, "%d=%s ", r.Number, r.Value)
	}
	return b.String()
}

func TestTheNextProcessFindsWhatThisOneLeft(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			again := place.make(t)
			s, err := again(t)
			must(t, err)
			if s.Adopted() || contents(s) != "" {
				t.Errorf("a new state has %q", contents(s))
			}
			s.Commit(Change{Key{kind, 1}, []byte("one")}, Change{Key{kind, 2}, []byte("two")})
			s.Commit(Change{Key{kind, 2}, []byte("deux")}, Change{Key{kind, 3}, []byte("three")}, Change{Key: Key{kind, 1}})
			s.records.stage(Key{kind, 4}, []byte("not committed"), 0)
			s.Counter("frames").Add(5)
			n, slot := s.Slot()
			slot[3] = 33
			f, err := s.Create("conns", 8192, nil)
			must(t, err)
			must(t, f.Reserve(4096, 4096))
			f.Bytes()[5000] = 7
			// A killed process closes nothing but its descriptors.
			must(t, s.lease.release())

			s, err = again(t)
			must(t, err)
			if got := contents(s); !s.Adopted() || got != "2=deux 3=three " {
				t.Errorf("records %q, adopted %v", got, s.Adopted())
			}
			if got := s.Counter("frames").Load(); got != 5 {
				t.Errorf("the counter is %d", got)
			}
			must(t, s.UseSlots([]uint32{n}))
			if got := s.SlotAt(n)[3]; got != 33 {
				t.Errorf("the slot has %d", got)
			}
			if m, _ := s.Slot(); m == n {
				t.Errorf("slot %d is given out twice", n)
			}
			f, err = s.Mapping("conns")
			must(t, err)
			if f == nil || len(f.Bytes()) != 8192 || f.Bytes()[5000] != 7 {
				t.Error("the mapping is not what it was")
			}
		})
	}
}

func TestOneProcessHasTheLease(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			again := place.make(t)
			s, err := again(t)
			must(t, err)
			var inUse *InUseError
			if _, err := again(t); !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
				t.Errorf("a second process: %v", err)
			}
			must(t, s.Release())
			other, err := again(t)
			must(t, err)
			if err := s.Retake(time.Millisecond); !errors.As(err, &inUse) {
				t.Errorf("the first takes it back: %v", err)
			}
			must(t, other.Release())
			must(t, s.Retake(time.Second))
		})
	}
}

func TestAgeGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first := s.Age()
	must(t, s.Close())
	if again := open(t, dir).Age(); again <= first {
		t.Errorf("the age is %v after %v", again, first)
	}
}

// A refused state says which file is wrong and why; it is kept, and the new one is empty.
func TestWhatCannotBeBelievedIsSetAsideByName(t *testing.T) {
	edit := func(old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			var id identity
			text, _ := os.ReadFile(filepath.Join(dir, identityName))
			p, err := parseIdentity(text)
			must(t, err)
			id = *p
			switch old {
			case "layout":
				id.Layout = map[string]int{"newer": Layout + 1, "older": Layout - 1}[new]
			case "boot":
				id.Boot = new
			case "namespace":
				id.Namespace = new
			case "user":
				id.User = 4711
			case "began":
				id.Began += int64(time.Hour)
			}
			must(t, os.WriteFile(filepath.Join(dir, identityName), id.text(), 0o600))
		}
	}
	for _, tt := range []struct {
		name, want string
		harm       func(t *testing.T, dir string)
	}{
		{"a newer layout", "identity: made by a newer uvs", edit("layout", "newer")},
		{"a layout that is no more", "identity: made by an older uvs", edit("layout", "older")},
		{"another boot", "identity: it is from before the host's start", edit("boot", "other")},
		{"a time to come", "identity: it is from before the host's start", edit("began", "")},
		{"another network namespace", "identity: it is from network namespace elsewhere", edit("namespace", "elsewhere")},
		{"another owner", "identity: it is of user 4711", edit("user", "")},
		{"a file that others can read", "config: its mode 0644 lets others in", func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, configName), 0o644))
		}},
		{"a link", "config: ", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, configName), filepath.Join(dir, "elsewhere")))
			must(t, os.Symlink("elsewhere", filepath.Join(dir, configName)))
		}},
		{"no identity", "identity: it is missing beside", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, identityName))) }},
		{"no counters", "counters: it is missing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, countersName))) }},
		{"no records", "config: it is missing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, configName))) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := left(t)
			tt.harm(t, dir)
			refusedAs(t, dir, tt.want)
		})
	}
}

// A director that is to replace another leaves what it cannot believe to that one.
func TestAStateThatHasToBeWholeIsNotSetAside(t *testing.T) {
	dir := left(t)
	must(t, os.Remove(filepath.Join(dir, configName)))
	var refused *Refused
	if _, err := Open(Options{Dir: dir, Whole: true}); !errors.As(err, &refused) || refused.File != configName {
		t.Errorf("Open: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "conns")); err != nil {
		t.Errorf("it was set aside: %v", err)
	}
}

// left returns the directory of a state with something in each of its files.
func left(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	for i := range uint32(20) {
		s.Commit(Change{Key{kind, i}, bytes.Repeat([]byte{byte('a' + i)}, int(i)+1)})
	}
	s.Counter("frames").Add(5)
	s.Counter("drops").Add(6)
	_, slot := s.Slot()
	slot[0] = 1
	f, err := s.Create("conns", 4096, nil)
	must(t, err)
	f.Bytes()[0] = 1
	must(t, s.Close())
	return dir
}

// refusedAs opens a state that is not to be believed.
func refusedAs(t *testing.T, dir, why string) {
	t.Helper()
	var log bytes.Buffer
	s, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	defer s.Unmap()
	defer s.Close()
	said := log.String()
	if !strings.Contains(said, "state: "+why) || strings.Count(said, "event=state-refused") != 1 {
		t.Errorf("logged %q, want one line with %q", said, why)
	}
	if s.Adopted() || contents(s) != "" || s.Counter("frames").Load() != 0 {
		t.Errorf("the state is not empty: %q", contents(s))
	}
	if f, err := s.Mapping("conns"); f != nil || err != nil {
		t.Errorf("a mapping is left: %v", err)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, badPrefix+"*", "*"))
	if len(aside) < 3 {
		t.Errorf("set aside is %q", aside)
	}
}

func TestOnlyTheLastStatesSetAsideAreKept(t *testing.T) {
	dir := left(t)
	s := open(t, dir)
	for range 4 {
		must(t, s.SetAside(errors.New("of the test")))
	}
	if all, _ := filepath.Glob(filepath.Join(dir, badPrefix+"*")); len(all) != badKept {
		t.Errorf("kept are %q", all)
	}
}

// Cut at any byte, a file that has a fixed content is refused.
func TestATruncatedStateIsRefused(t *testing.T) {
	for _, name := range []string{identityName, countersName, configName} {
		t.Run(name, func(t *testing.T) {
			whole := left(t)
			size := fileSize(t, filepath.Join(whole, name))
			cuts := []int64{0, 1, size / 2, size - 1}
			for range 10 {
				cuts = append(cuts, rand.Int64N(size))
			}
			if size < 1000 {
				cuts = cuts[:0]
				for n := range size {
					cuts = append(cuts, n)
				}
			}
			for _, n := range cuts {
				dir := copyOf(t, whole)
				must(t, os.Truncate(filepath.Join(dir, name), n))
				refusedAs(t, dir, name+": ")
			}
		})
	}
}

// A flipped bit of what has a checksum is refused, unless nothing depends on it.
func TestAFlippedBitIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to int64 // bytes with a checksum
		sure     bool  // it is refused
	}{
		{identityName, 0, 0, true},
		{configName, 0, 0, true},
		{countersName, wordTag * 8, (wordChunks + 2) * 8, false},
		{countersName, wordCommit * 8, (wordCommit + commitWords) * 8, false},
		{countersName, pageSize, pageSize + nameLen + 8, true},
	} {
		t.Run(fmt.Sprintf("%s from %d", tt.name, tt.from), func(t *testing.T) {
			whole := left(t)
			all := contents(open(t, copyOf(t, whole)))
			if tt.to == 0 {
				tt.to = fileSize(t, filepath.Join(whole, tt.name))
			}
			for range 25 {
				dir := copyOf(t, whole)
				at := tt.from + rand.Int64N(tt.to-tt.from)
				flip(t, filepath.Join(dir, tt.name), at)
				if s := open(t, dir); s.Adopted() && contents(s) != all {
					t.Errorf("byte %d is wrong, and the records are %q", at, contents(s))
				} else if s.Adopted() && tt.sure {
					t.Errorf("byte %d is wrong, and the state is adopted", at)
				}
			}
		})
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 1 << rand.IntN(8)
	_, err = f.WriteAt(b[:], at)
	must(t, err)
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "state")
	must(t, os.Mkdir(to, 0o700))
	for _, name := range []string{lockName, identityName, countersName, configName, "conns"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, name), text, 0o600))
	}
	return to
}

func TestADirectoryThatOthersCanWriteToIsAnError(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "its mode 0777 lets others in") {
		t.Errorf("error %v", err)
	}
}

func TestARemovedStateLeavesNothing(t *testing.T) {
	dir := left(t)
	must(t, open(t, dir).Remove())
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory: %v", err)
	}
}

func TestNoStateWorksToo(t *testing.T) {
	var s *State
	s.Commit(Change{Key{kind, 1}, nil})
	n, slot := s.Slot()
	if slot == nil || n != NoSlot || s.SlotAt(n) == nil || s.Counter("x") == nil || s.Adopted() || s.Age() != 0 {
		t.Error("a nil State gives nothing to count in")
	}
	must(t, s.UseSlots([]uint32{n}))
	s.FreeSlot(n)
	must(t, s.Close())
}
