package connsync

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// recorded returns the datagrams that a master of Linux 6.1 sent.
func recorded(t testing.TB) (all [][]byte) {
	t.Helper()
	f, err := os.Open("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			b, err := hex.DecodeString(line)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
	}
	return all
}

// read returns the entries of a datagram, and what was refused.
func read(t testing.TB, b []byte) (all []Entry, refused []Refusal) {
	t.Helper()
	m, r := Parse(b)
	if r != Taken {
		return nil, []Refusal{r}
	}
	for {
		var e Entry
		r, ok := m.Next(&e)
		switch {
		case !ok:
			return all, refused
		case r != Taken:
			refused = append(refused, r)
		default:
			all = append(all, e)
		}
	}
}

func TestRecordedDatagramsAreReadAndWrittenAlike(t *testing.T) {
	for _, b := range recorded(t) {
		m, _ := Parse(b)
		entries, refused := read(t, b)
		if len(refused) > 0 || len(entries) != m.Count || len(entries) == 0 {
			t.Fatalf("%x: %d entries, refused %v", b, len(entries), refused)
		}
		w := Writer{Version: m.Version, SyncID: m.SyncID, MaxLen: 1472}
		for i := range entries {
			if !w.Add(entries[i].Append(nil, m.Version)) {
				t.Fatalf("%x: no room for entry %d", b, i)
			}
		}
		if got := w.Datagram(); !bytes.Equal(got, b) {
			t.Errorf("written\n%x\nnot\n%x", got, b)
		}
	}
}

func mapped(s string) [16]byte { return netip.MustParseAddr(s).As16() }

// plain is a connection like many.
func plain(change func(*Entry)) Entry {
	e := Entry{Proto: 6, State: 1, Timeout: 100, ClientPort: 1000, VirtualPort: 80, RealPort: 80,
		Client: mapped("172.16.0.9"), Virtual: mapped("10.2.0.1"), Real: mapped("10.1.0.1")}
	if change != nil {
		change(&e)
	}
	return e
}

// datagram returns one with these entries; every entry but the last is padded.
func datagram(entries ...[]byte) []byte {
	w := Writer{Version: 1, SyncID: 7, MaxLen: 65535}
	for _, e := range entries {
		w.Add(e)
	}
	return bytes.Clone(w.Datagram())
}

// crafted returns an entry with other bytes at an offset, and options behind.
func crafted(at int, patch []byte, options ...byte) []byte {
	e := plain(nil)
	b := append(e.Append(nil, 1), options...)
	b[3] = uint8(len(b))
	copy(b[at:], patch)
	return b
}

// What Linux 6.1 took and what it dropped of such datagrams was found out with a real
// one.
func TestABackupTakesAndRefusesWhatTheKernelDoes(t *testing.T) {
	good := crafted(0, nil)
	seq := append([]byte{1, 24}, make([]byte, 24)...)
	for _, c := range []struct {
		name    string
		b       []byte
		taken   int
		refused []Refusal
	}{
		{"a connection", datagram(good), 1, nil},
		{"no header", []byte{0, 7, 0}, 0, []Refusal{Short}},
		{"another length than it says", append(datagram(good), 0), 0, []Refusal{Size}},
		{"a state that TCP has not, between two good ones", datagram(good, crafted(8, []byte{0, 250}), good), 2, []Refusal{State}},
		{"a protocol that is not balanced", datagram(crafted(1, []byte{99}), good), 1, []Refusal{Protocol}},
		{"an unknown type ends the datagram", datagram(good, crafted(0, []byte{2}), good), 1, []Refusal{Type}},
		{"an unknown entry version ends it", datagram(good, crafted(2, []byte{0x10}), good), 1, []Refusal{EntryVersion}},
		{"an entry longer than the datagram", datagram(good, crafted(2, []byte{0x0f, 0xff})), 1, []Refusal{Short}},
		{"an entry shorter than its addresses", datagram(crafted(3, []byte{35}), good), 0, []Refusal{Short}},
		{"an unknown option drops the entry", datagram(crafted(0, nil, 5, 2, 'a', 'b'), good), 1, []Refusal{UnknownOption}},
		{"an unknown option that may be skipped", datagram(crafted(0, nil, 0x45, 2, 'a', 'b'), good), 2, nil},
		{"sequence numbers", datagram(crafted(0, nil, seq...)), 1, nil},
		{"sequence numbers twice", datagram(crafted(0, nil, append(seq, seq...)...), good), 0, []Refusal{Option}},
		{"sequence numbers of another length", datagram(crafted(0, nil, 1, 2, 0, 0), good), 0, []Refusal{Option}},
		{"an option without a length", datagram(crafted(0, nil, 0x45, 0), good), 0, []Refusal{Option}},
		{"an option beyond its entry", datagram(crafted(0, nil, 2, 200, 1), good), 0, []Refusal{Option}},
		{"half an option", datagram(crafted(0, nil, 2), good), 0, []Refusal{Option}},
		{"the name of an engine too long", datagram(crafted(0, nil, append([]byte{3, 17}, make([]byte, 17)...)...)), 0, []Refusal{Option}},
		{"data of an engine without its name", datagram(crafted(0, nil, 2, 3, 'a', 'b', 'c'), good), 1, []Refusal{PE}},
		{"an engine", datagram(crafted(0, nil, 2, 3, 'a', 'b', 'c', 3, 3, 's', 'i', 'p')), 1, nil},
		{"spare bits make it version 0, without entries", patched(datagram(good), 6, 1), 0, nil},
		{"so does another version", patched(datagram(good), 5, 2), 0, nil},
		{"more entries announced than there are", patched(datagram(good), 4, 2), 1, []Refusal{Short}},
		{"fewer entries announced than there are", patched(datagram(good, good), 4, 1), 1, nil},
	} {
		entries, refused := read(t, c.b)
		if len(entries) != c.taken || !cmp.Equal(refused, c.refused) {
			t.Errorf("%s: took %d and refused %v, want %d and %v", c.name, len(entries), refused, c.taken, c.refused)
		}
	}
}

func patched(b []byte, at int, v byte) []byte {
	b[at] = v
	return b
}

func TestOnlyAFewFlagsAreTaken(t *testing.T) {
	e := plain(func(e *Entry) { e.Flags = 0xffff_ffff &^ Template })
	got, _ := read(t, datagram(e.Append(nil, 1)))
	if want := uint32(MethodMask | NoOutput | Inactive | OutSeq | InSeq | NoClientPort); got[0].Flags != want {
		t.Errorf("flags %#x, want %#x", got[0].Flags, want)
	}
}

func TestAnEngineIsOfTemplatesOnly(t *testing.T) {
	e := plain(func(e *Entry) { e.PEName, e.PEData = "sip", "call" })
	got, _ := read(t, datagram(e.Append(nil, 1)))
	if got[0].PEName != "" || got[0].PEData != "" {
		t.Errorf("a connection has the engine %q", got[0].PEName)
	}
	e.Flags, e.ClientPort = Template, 0
	if got, _ = read(t, datagram(e.Append(nil, 1))); got[0].PEName != "sip" || got[0].PEData != "call" {
		t.Errorf("a template has the engine %q with %q", got[0].PEName, got[0].PEData)
	}
}

// drawEntry draws an entry that a master can send in a version.
func drawEntry(t *rapid.T, version uint8) Entry {
	e := Entry{
		Proto:      rapid.SampledFrom([]uint8{6, 17, 132, 50, 51}).Draw(t, "proto"),
		Flags:      rapid.Uint32().Draw(t, "flags") & taken,
		ClientPort: rapid.Uint16().Draw(t, "cport"), VirtualPort: rapid.Uint16().Draw(t, "vport"), RealPort: rapid.Uint16().Draw(t, "dport"),
	}
	if e.Proto == 6 || e.Proto == 132 {
		e.State = rapid.Uint16Range(0, 10).Draw(t, "state")
	}
	if e.Flags&Template != 0 {
		e.State = min(e.State, uint16(version))
	}
	e.HasSeq = e.Flags&seqFlags != 0
	e.V6 = version == 1 && rapid.Bool().Draw(t, "v6")
	for _, a := range []*[16]byte{&e.Client, &e.Virtual, &e.Real} {
		*a = drawAddr(t, e.V6)
	}
	if e.HasSeq {
		e.In.Init, e.Out.Delta, e.Out.Previous = rapid.Uint32().Draw(t, "init"), rapid.Uint32().Draw(t, "delta"), rapid.Uint32().Draw(t, "previous")
	}
	if version == 1 {
		drawOptions(t, &e)
	}
	return e
}

func drawAddr(t *rapid.T, v6 bool) [16]byte {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr")
	if v6 {
		return [16]byte(b)
	}
	return netip.AddrFrom4([4]byte(b)).As16()
}

func drawOptions(t *rapid.T, e *Entry) {
	e.Copy = rapid.Bool().Draw(t, "copy")
	e.Bulk = !e.Copy && rapid.Bool().Draw(t, "bulk")
	e.Mark, e.Timeout = rapid.Uint32().Draw(t, "mark"), rapid.Uint32().Draw(t, "timeout")
	if e.Flags&Template != 0 && rapid.Bool().Draw(t, "pe") {
		e.PEName, e.PEData = "sip", string(rapid.SliceOfN(rapid.Byte(), 1, maxPEData).Draw(t, "data"))
	}
	if rapid.Bool().Draw(t, "local") {
		e.LocalPort, e.Local = rapid.Uint16Range(1, 65535).Draw(t, "lport"), drawAddr(t, e.V6)
	}
	if e.HasNumbers = rapid.Bool().Draw(t, "numbers"); e.HasNumbers {
		e.Numbers = Numbers{SeqOffset: rapid.Uint32().Draw(t, "offset"), Proxied: rapid.Bool().Draw(t, "proxied"),
			Scale: rapid.Uint8Range(0, 15).Draw(t, "scale"), Cookie: rapid.Uint32().Draw(t, "cookie")}
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.Uint8Range(0, 1).Draw(t, "version")
		w := Writer{Version: version, SyncID: 3, MaxLen: rapid.IntRange(1, 3000).Draw(t, "max")}
		var sent, got []Entry
		flush := func() {
			if w.Count() == 0 {
				return
			}
			m, r := Parse(w.Datagram())
			if r != Taken || m.SyncID != 3 || m.Version != version {
				t.Fatalf("refused: %v, id %d, version %d", r, m.SyncID, m.Version)
			}
			for {
				var e Entry
				r, ok := m.Next(&e)
				if !ok {
					return
				}
				if r != Taken {
					t.Fatalf("refused: %v", r)
				}
				got = append(got, e)
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "entries") {
			e := drawEntry(t, version)
			b := e.Append(nil, version)
			if len(b) > MaxEntryLen {
				t.Fatalf("an entry of %d bytes", len(b))
			}
			if !w.Add(b) {
				flush()
				w.Add(b)
			}
			sent = append(sent, e)
		}
		flush()
		if d := cmp.Diff(sent, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestVersion0HasNoEntryThatItCannotExpress(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"IPv6":          func(e *Entry) { e.V6 = true },
		"FULLNAT":       func(e *Entry) { e.LocalPort = 5000 },
		"other numbers": func(e *Entry) { e.HasNumbers = true },
	} {
		if e := plain(change); len(e.Append(nil, 0)) != 0 {
			t.Errorf("%s: an entry", name)
		}
	}
}

func TestABeaconSaysNothingToAKernel(t *testing.T) {
	n := Beacon{Kind: Have, Sender: 1 << 60, Sent: 12, Conns: 7}
	m, r := Parse(n.Append(nil, 9))
	if got, ok := m.Beacon(); r != Taken || !ok || got != n || m.SyncID != 9 {
		t.Errorf("%+v %v %v", got, ok, r)
	}
	if entries, refused := read(t, n.Append(nil, 9)); len(entries)+len(refused) != 0 {
		t.Errorf("%v %v", entries, refused)
	}
	e := plain(nil)
	if m, _ = Parse(datagram(e.Append(nil, 1))); m.Count != 1 {
		t.Fatal("no entry")
	}
	if _, ok := m.Beacon(); ok {
		t.Error("an entry is a beacon")
	}
}

func TestASignedDatagramIsTakenOnce(t *testing.T) {
	now := 1_800_000_000 * time.Second
	s, v := NewSigner([]byte("key"), 1), NewVerifier([]byte("key"))
	body := datagram(crafted(0, nil))
	first, second := s.Sign(bytes.Clone(body), now), s.Sign(bytes.Clone(body), now)
	check := func(what string, b []byte, at time.Duration, want Refusal) {
		t.Helper()
		got, r := v.Check(b, at)
		if r != want || want == Taken && !bytes.Equal(got, body) {
			t.Errorf("%s: %v, want %v", what, r, want)
		}
	}
	if _, r := Parse(first); r != Size {
		t.Errorf("a kernel would take a signed one: %v", r)
	}
	check("unsigned", body, now, Unsigned)
	check("short", body[:3], now, Unsigned)
	check("changed", patched(bytes.Clone(first), 20, 99), now, Unsigned)
	check("of another key", NewSigner([]byte("other"), 1).Sign(bytes.Clone(body), now), now, Unsigned)
	check("first", first, now+time.Second, Taken)
	check("first again", first, now, Replayed)
	check("second", second, now, Taken)
	check("another sender's", NewSigner([]byte("key"), 2).Sign(bytes.Clone(body), now), now, Taken)
	check("late", s.Sign(bytes.Clone(body), now), now+2*MaxSkew, Replayed)
}

func TestAVerifierRemembersFewSenders(t *testing.T) {
	now := 1_800_000_000 * time.Second
	v := NewVerifier([]byte("key"))
	for i := range uint64(3 * maxSenders) {
		now += time.Second
		if _, r := v.Check(NewSigner([]byte("key"), i).Sign(datagram(crafted(0, nil)), now), now); r != Taken {
			t.Fatal(r)
		}
	}
	if len(v.last) > maxSenders {
		t.Errorf("remembers %d", len(v.last))
	}
}

func TestEveryRefusalHasANameOfItsOwn(t *testing.T) {
	seen := map[string]Refusal{}
	for r := Taken + 1; r < Refusals; r++ {
		if other, twice := seen[r.String()]; twice || r.String() == "" {
			t.Errorf("%d and %d are %q", other, r, r)
		}
		seen[r.String()] = r
	}
}

// FuzzParse reads any bytes as a datagram. What is taken can be written, and is then
// read as the same.
func FuzzParse(f *testing.F) {
	for _, b := range recorded(f) {
		f.Add(b)
	}
	f.Add(datagram(crafted(0, nil, 2, 3, 'a', 'b', 'c', 3, 3, 's', 'i', 'p')))
	e := plain(func(e *Entry) { e.LocalPort, e.HasNumbers = 5000, true })
	f.Add(datagram(e.Append(nil, 1)))
	n := Beacon{Kind: Want}
	f.Add(n.Append(nil, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, r := Parse(b)
		if r != Taken {
			return
		}
		m.Beacon()
		version := m.Version
		for {
			var e, again Entry
			r, ok := m.Next(&e)
			if !ok {
				return
			}
			if r != Taken {
				continue
			}
			w := Writer{Version: version, MaxLen: 65535}
			w.Add(e.Append(nil, version))
			m, _ := Parse(w.Datagram())
			if r, _ := m.Next(&again); r != Taken || again != e {
				t.Fatalf("%+v\nis read again as\n%+v (%v)", e, again, r)
			}
		}
	})
}
