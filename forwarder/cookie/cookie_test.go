package cookie

import (
	"crypto/rand"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"uvs/forwarder/frame"
)

func flow(src, dst string) *frame.Flow {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	a, b := s.Addr().As16(), d.Addr().As16()
	f := frame.MakeFlow(frame.ProtoTCP, &a, &b, s.Port(), d.Port())
	return &f
}

func newJar() *Jar {
	var key [16]byte
	rand.Read(key[:])
	return New(key, 41)
}

var someFlow = flow("172.16.0.9:1000", "10.2.0.1:80")

func TestACookieSaysWhatTheSYNOffered(t *testing.T) {
	j := newJar()
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			MSS:     rapid.SampledFrom(sizes[:]).Draw(t, "MSS"),
			Scale:   rapid.Uint8Range(0, NoScale).Draw(t, "scale"),
			SACK:    rapid.Bool().Draw(t, "SACK"),
			Stamped: rapid.Bool().Draw(t, "stamped"),
		}
		seq := rapid.Uint32().Draw(t, "seq")
		for range rapid.IntRange(0, 1).Draw(t, "rotations since") {
			defer j.Turn(j.secrets.Load().generation + 1)
		}
		c := j.Make(someFlow, seq, o, new(Scratch))
		if got, r := j.Check(someFlow, seq, c, o.Stamped, new(Scratch)); r != Good || got != o {
			t.Errorf("%+v became %+v, %v", o, got, r)
		}
	})
}

func TestTheNextLowerSegmentSizeIsKept(t *testing.T) {
	for _, c := range []struct{ offered, kept uint16 }{
		{1460, 1460}, {1459, 1440}, {1452, 1440}, {65535, 8960}, {100, 536}, {536, 536}, {1280, 1220},
	} {
		j, b := newJar(), new(Scratch)
		made := j.Make(someFlow, 1, Options{MSS: c.offered}, b)
		if got, _ := j.Check(someFlow, 1, made, false, b); got.MSS != c.kept {
			t.Errorf("%d is kept as %d, want %d", c.offered, got.MSS, c.kept)
		}
	}
}

func TestACookieIsGoodForTheFirstSegmentOfItsFlowAlone(t *testing.T) {
	j, b := newJar(), new(Scratch)
	c := j.Make(someFlow, 7, Options{MSS: 1460, Stamped: true}, b)
	for _, x := range []struct {
		name    string
		flow    *frame.Flow
		seq     uint32
		cookie  uint32
		stamped bool
		want    Result
	}{
		{"the ACK", someFlow, 7, c, true, Good},
		{"a segment after one that was lost", someFlow, 1467, c, true, Later},
		{"another client", flow("172.16.0.8:1000", "10.2.0.1:80"), 7, c, true, Bad},
		{"another port", flow("172.16.0.9:1001", "10.2.0.1:80"), 7, c, true, Bad},
		{"another service", flow("172.16.0.9:1000", "10.2.0.2:80"), 7, c, true, Bad},
		{"another port of the service", flow("172.16.0.9:1000", "10.2.0.1:81"), 7, c, true, Bad},
		{"without its time stamps", someFlow, 7, c, false, Bad},
		{"another option", someFlow, 7, c ^ 1, true, Bad},
		{"another generation", someFlow, 7, c ^ generationBit, true, Bad},
	} {
		if _, r := j.Check(x.flow, x.seq, x.cookie, x.stamped, b); r != x.want {
			t.Errorf("%s: %v, want %v", x.name, r, x.want)
		}
	}
}

func TestACookieAgesWithItsSecret(t *testing.T) {
	j, b := newJar(), new(Scratch)
	c := j.Make(someFlow, 7, Options{}, b)
	for i, want := range []Result{Good, Good, Bad} {
		if _, r := j.Check(someFlow, 7, c, false, b); r != want {
			t.Errorf("after %d rotations: %v, want %v", i, r, want)
		}
		j.Turn(j.secrets.Load().generation + 1)
	}
	if _, r := newJar().Check(someFlow, 7, c, false, b); r == Good {
		t.Error("another jar takes it")
	}
}

// TestANewDirectorTakesTheCookiesOfTheOld: it has the key of the connection table, and its
// clock.
func TestANewDirectorTakesTheCookiesOfTheOld(t *testing.T) {
	b, key := new(Scratch), [16]byte{1}
	c := New(key, 7).Make(someFlow, 7, Options{}, b)
	for generation, want := range map[uint32]Result{7: Good, 8: Good, 9: Bad} {
		if _, r := New(key, generation).Check(someFlow, 7, c, false, b); r != want {
			t.Errorf("at generation %d: %v, want %v", generation, r, want)
		}
	}
}

func TestGuessesAreBad(t *testing.T) {
	j, b := newJar(), new(Scratch)
	const tries = 1 << 20
	later, good := 0, 0
	for i := range uint32(tries) {
		switch _, r := j.Check(someFlow, i, i*2654435761, false, b); r {
		case Good:
			good++
		case Later:
			later++
		}
	}
	if good > 4 || later > tries/4096*2 {
		t.Errorf("of %d guesses %d are good, and %d for a later segment", tries, good, later)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	j, b := newJar(), new(Scratch)
	if n := testing.AllocsPerRun(100, func() {
		c := j.Make(someFlow, 7, Options{MSS: 1460}, b)
		j.Check(someFlow, 7, c, false, b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMake(b *testing.B) {
	j, s := newJar(), new(Scratch)
	for b.Loop() {
		j.Make(someFlow, 7, Options{MSS: 1460}, s)
	}
}
