package forwarder

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

	"uvs/forwarder/state"
)

// image is a state directory in memory.
type image map[string][]byte

func imageOf(t testing.TB, dir string) image {
	t.Helper()
	all := image{}
	for _, name := range []string{"identity", "counters", "config", "conns"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		mustDo(t, err)
		all[name] = b
	}
	return all
}

// write makes a directory of it. Pages of zeros become holes, as they were.
func (m image) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range m {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o600)
		mustDo(t, err)
		mustDo(t, f.Truncate(int64(len(b))))
		for at := 0; at < len(b); at += 4096 {
			page := b[at:min(at+4096, len(b))]
			if bytes.Count(page, []byte{0}) < len(page) {
				_, err := f.WriteAt(page, int64(at))
				mustDo(t, err)
			}
		}
		mustDo(t, f.Close())
	}
	return dir
}

// with returns a copy in which one file is another.
func (m image) with(name string, b []byte) image {
	all := image{}
	for n := range m {
		all[n] = m[n]
	}
	all[name] = b
	return all
}

// leftImage is what a director with services and connections leaves when it is killed.
func leftImage(t *testing.T) image {
	dir := t.TempDir()
	st := openKept(t, dir)
	b := newTestbedWith(t, victimRules, Config{MaxConns: 1 << 10, State: st})
	for i := range 40 {
		client, virtual := lastingConn(i)
		b.talk(client, virtual, i)
	}
	mustDo(t, st.Close())
	return imageOf(t, dir)
}

// adopts has a director begin with what an image holds, and reports whether it adopted
// it; else the state was refused by name, and the next director begins empty.
func adopts(t *testing.T, m image, file string) bool {
	t.Helper()
	var log bytes.Buffer
	st, err := state.Open(state.Options{Dir: m.write(t), Log: slog.New(slog.NewTextHandler(&log, nil))})
	mustDo(t, err)
	defer st.Unmap()
	defer st.Close()
	c := Config{MaxConns: 1 << 10, State: st, Driver: newMemory(), Neighbours: newNetwork()}
	fw, err := New(c)
	var refused *state.Refused
	if errors.As(err, &refused) {
		mustDo(t, st.SetAside(refused))
		fw, err = New(c)
	}
	mustDo(t, err)
	defer fw.conns.Close()
	_ = fmt.Sprint(fw.Services(), fw.Connections(), fw.Counters(), fw.Sysctls())
	if st.Adopted() {
		return true
	}
	said := log.String()
	if !strings.Contains(said, "refused") || !strings.Contains(said, "state: ") || file != "" && !strings.Contains(said, file) {
		t.Errorf("a state with damage in %s is refused with %s", file, said)
	}
	if len(fw.Services()) != 0 || fw.conns.Len() != 0 {
		t.Errorf("after a state was refused there are %v", fw.Services())
	}
	return false
}

func TestATruncatedStateIsRefusedAsAWhole(t *testing.T) {
	whole := leftImage(t)
	if !adopts(t, whole, "") {
		t.Fatal("the state is refused as it was left")
	}
	for name, b := range whole {
		for range 12 {
			n := rand.IntN(len(b))
			if adopts(t, whole.with(name, b[:n]), name) {
				t.Errorf("%s was adopted with %d of %d bytes", name, n, len(b))
			}
		}
	}
}

// A flipped bit is refused where something depends on it, and harmless elsewhere: in
// what is made anew at each start, in free memory, in a counter.
func TestAFlippedBitIsRefusedOrHarmless(t *testing.T) {
	whole := leftImage(t)
	refused := 0
	for range 150 {
		for name, b := range whole {
			damaged := bytes.Clone(b)
			at := rand.IntN(len(b))
			for i := range 1000 { // where something is, as a rule
				if damaged[at] != 0 || i == 999 {
					break
				}
				at = rand.IntN(len(b))
			}
			damaged[at] ^= 1 << rand.IntN(8)
			if !adopts(t, whole.with(name, damaged), "") {
				refused++
			} else if name == "config" || name == "identity" {
				t.Errorf("%s was adopted although byte %d is wrong", name, at)
			}
		}
	}
	t.Logf("%d of %d were refused", refused, 150*len(whole))
}
