package guard

import (
	"errors"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

func TestTheTableIsClaimedWhenThatOfAnEarlierProcessGoes(t *testing.T) {
	for _, c := range []struct {
		name    string
		refused int    // how often the kernel refuses to make the table
		taken   []bool // whether one is seen after each refusal; the last goes on
		want    error
	}{
		{"none there", 0, []bool{false}, nil},
		{"it goes after a while", 9, []bool{true}, nil},
		{"it goes between the refusal and the look", 1, []bool{false}, nil},
		{"it goes so after a while", 4, []bool{true, true, true, false}, nil},
		{"it stays: another director's", 1 << 20, []bool{true}, ErrGuarded},
		{"there is none: no privilege", 1 << 20, []bool{false}, ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				add := func() error {
					if asked++; asked > c.refused {
						return nil
					}
					return unix.EPERM
				}
				taken := func() bool { return c.taken[min(asked, len(c.taken))-1] }
				if err := createTable(add, taken); !errors.Is(err, c.want) {
					t.Errorf("claim: %v, want %v", err, c.want)
				}
			})
		})
	}
}
