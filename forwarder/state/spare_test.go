package state

import (
	"path/filepath"
	"testing"
)

// What a director that is to replace another has made anew is of no use to that one.
func TestFilesThatWereReplacedComeBackUnlessConfirmed(t *testing.T) {
	for _, confirmed := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "state")
		write := func(o Options, text string) *State {
			o.Dir = dir
			s, err := Open(o)
			must(t, err)
			_, err = s.Create("conns", 8, func(b []byte) error { copy(b, text); return nil })
			must(t, err)
			return s
		}
		must(t, write(Options{}, "old").Close())
		next := write(Options{Whole: true}, "new")
		want := "old"
		if confirmed {
			must(t, next.Confirm())
			want = "new"
		}
		must(t, next.Close())
		f, err := open(t, dir).Mapping("conns")
		must(t, err)
		if got := string(f.Bytes()[:3]); got != want {
			t.Errorf("confirmed: %v, there is the %s file", confirmed, got)
		}
	}
}
