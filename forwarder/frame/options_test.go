package frame

import (
	"encoding/hex"
	"testing"

	"uvs/forwarder/frame/frametest"

	"github.com/google/gopacket/layers"
)

// withOptions is a SYN with IPv4 options, hexadecimal, made up with zeros to a
// multiple of four bytes.
func withOptions(t testing.TB, options string) Frame {
	o, err := hex.DecodeString(options)
	if err != nil {
		t.Fatal(err)
	}
	for len(o)%4 != 0 {
		o = append(o, 0)
	}
	plain := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN())
	b := append(append(append([]byte{}, plain[:34]...), o...), plain[34:]...)
	b[14] = 0x45 + byte(len(o)/4)
	b[17] += byte(len(o))
	sum4(b)
	var p Parser
	var f Frame
	f.Reset(b, 0, len(b), len(b))
	if v := p.Parse(&f); v != Continue {
		t.Fatalf("Parse = %v", v)
	}
	return f
}

// Linux 6.1's answer to each of these, or the packet it forwarded.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name, options string
		bad           int
		left          string // the options afterwards, if they change
	}{
		{"no operation", "01010101", 0, ""},
		{"an end", "01010100", 0, ""},
		{"what follows the end becomes zeros", "00073001", 0, "00000000"},
		{"in the second word, too", "0100ffff12345678", 0, "0100000000000000"},
		{"loose source route", "830b080a0100090a01000800", 0, ""},
		{"loose source route without a pointer", "83020101", 21, ""},
		{"loose source route without an address", "83030401", 0, ""},
		{"source route that points into itself", "8307030a01000900", 22, ""},
		{"two source routes", "8307040a010009018307040a01000800", 28, ""},
		{"record route with room", "070b04000000000000000000", 0, ""},
		{"record route that is full", "0707080102030400", 0, ""},
		{"record route without a pointer", "07020101", 21, ""},
		{"record route that points into itself", "0707030000000000", 22, ""},
		{"record route with half a place", "0707060000000000", 22, ""},
		{"two record routes", "07070400000000010707040000000000", 28, ""},
		{"timestamps", "440c05000000000000000000", 0, ""},
		{"timestamps with addresses", "440c05010000000000000000", 0, ""},
		{"timestamps of given addresses", "440c0503c000020900000000", 0, ""},
		{"timestamps that are full", "440c0d000000000000000000", 0, ""},
		{"timestamps that 15 hosts found full", "440c0df00000000000000000", 23, ""},
		{"timestamps too short", "44030501", 21, ""},
		{"timestamps that point into themselves", "440c04000000000000000000", 22, ""},
		{"timestamps with half a place", "4408070000000000", 22, ""},
		{"timestamps of an unknown kind", "440c05020000000000000000", 0, ""},
		{"timestamps with no room for an address", "440c09010000000000000000", 22, ""},
		{"two of timestamps", "44080500000000004408050000000000", 28, ""},
		{"given addresses that are full", "4408090900000000", 0, ""},
		{"router alert", "94040000", 0, ""},
		{"router alert of an unknown value", "94040001", 0, ""},
		{"router alert of 3 bytes", "94030001", 21, ""},
		{"a label of an unknown domain", "860a00000005010400010000", 22, ""},
		{"a label too short", "8606000000050000", 21, ""},
		{"a label behind others", "0101860a0000000501040001", 24, ""},
		{"security", "820b00000000000000000000", 0, ""},
		{"stream identifier", "88040001", 0, ""},
		{"an unknown option", "19020101", 0, ""},
		{"an option of no length", "19000101", 20, ""},
		{"an option of one byte", "19010101", 20, ""},
		{"an option that ends outside", "19080101", 20, ""},
		{"a type in the last byte", "01010119", 23, ""},
		{"a bad one behind a good one", "9404000019000101", 24, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := withOptions(t, c.options)
			if o := f.Options(); o.Bad != c.bad {
				t.Errorf("bad at %d, want %d", o.Bad, c.bad)
			}
			header := f.L3()[:f.IPHeaderLen()]
			if c.left == "" {
				c.left = c.options
			}
			if got := hex.EncodeToString(header[20:]); got != c.left {
				t.Errorf("options %s, want %s", got, c.left)
			}
			if Checksum(header) != 0 {
				t.Error("the header's checksum is wrong")
			}
		})
	}
}

// How Linux 6.1 forwarded these to a server, with its timestamps.
func TestEntries(t *testing.T) {
	p := OptionEntries{Route: [4]byte{10, 0, 0, 2}, Stamp: [4]byte{10, 1, 255, 254}, Time: 0x088aa4, Prescribed: true}
	for _, c := range []struct{ name, options, want string }{
		{"record route", "070b04000000000000000000", "070b080a0000020000000000"},
		{"a second entry", "070b080a0100010000000000", "070b0c0a0100010a00000200"},
		{"record route that is full", "0707080102030400", "0707080102030400"},
		{"times", "440c05000000000000000000", "440c090000088aa400000000"},
		{"times with addresses", "440c05010000000000000000", "440c0d010a01fffe00088aa4"},
		{"times of given addresses", "440c05030a00000200000000", "440c0d030a00000200088aa4"},
		{"no room for a time", "440c0d000000000000000000", "440c0d100000000000000000"},
		{"no room of an unknown kind", "4408090900000000", "4408091900000000"},
		{"an unknown kind", "440c05020000000000000000", "440c05020000000000000000"},
		{"no entries", "94040000", "94040000"},
	} {
		f := withOptions(t, c.options)
		o := f.Options()
		f.FillOptions(&o, &p)
		header := f.L3()[:f.IPHeaderLen()]
		if got := hex.EncodeToString(header[20:]); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if Checksum(header) != 0 {
			t.Errorf("%s: the header's checksum is wrong", c.name)
		}
	}
	f := withOptions(t, "440c0503c000020900000000")
	o := f.Options()
	if a, ok := f.Prescribed(&o); !ok || a != [4]byte{192, 0, 2, 9} {
		t.Errorf("the prescribed address is %v, %v", a, ok)
	}
}

func TestSourceRoutes(t *testing.T) {
	for _, c := range []struct {
		name, options string
		want          Options
	}{
		{"loose", "01830b080a0100090a010008", Options{Route: 21}},
		{"strict", "8907040a01000900", Options{Route: 20, Strict: true}},
		{"passed", "8307080a01000900", Options{Route: 20, Done: true}},
		{"none", "01010101", Options{}},
	} {
		f := withOptions(t, c.options)
		if o := f.Options(); o != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, o, c.want)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte{131, 11, 8, 10, 1, 0, 9, 10, 1, 0, 8, 0})
	f.Add([]byte{68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, o []byte) {
		o = o[:min(len(o), 40)]
		fr := withOptions(t, hex.EncodeToString(o))
		got := fr.Options()
		if n := fr.IPHeaderLen(); got.Bad >= n || got.Bad != 0 && got.Bad < 20 || got.Route >= n {
			t.Fatalf("%x: %+v", o, got)
		}
		if got.Bad == 0 {
			fr.Prescribed(&got)
			fr.FillOptions(&got, &OptionEntries{Prescribed: true})
			if Checksum(fr.L3()[:fr.IPHeaderLen()]) != 0 {
				t.Fatalf("%x: the header's checksum is wrong", o)
			}
		}
	})
}
