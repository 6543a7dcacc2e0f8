package frame

import (
	"encoding/binary"
	"encoding/hex"
	"testing"
)

func TestHopOptions(t *testing.T) {
	silent := HopFault{Invalid: true}
	unknown := func(at int) HopFault { return HopFault{Invalid: true, Tell: true, Code: 2, At: at} }
	for _, c := range []struct {
		name, options string
		want          HopFault
	}{
		{"padding", "010400000000", HopFault{}},
		{"single bytes of padding", "000000000000", HopFault{}},
		{"padding that is not zero", "010400070000", silent},
		{"too much padding", "0104000000000104000000000000", silent},
		{"router alert", "050200000100", HopFault{}},
		{"router alert of 3 bytes", "050300000000", silent},
		{"an unknown option to be skipped", "3e0400000000", HopFault{}},
		{"an unknown option that drops", "7e0400000000", silent},
		{"an unknown option to be told of", "be0400000000", unknown(42)},
		{"one to be told of but to groups", "fe0400000000", unknown(42)},
		{"one behind others", "0100be020000", unknown(44)},
		{"an option that ends outside", "050900000000", silent},
		{"a jumbo payload of 0", "c20400000000", HopFault{Invalid: true, Tell: true, At: 44}},
		{"a jumbo payload beside a length", "c20400020000", HopFault{Invalid: true, Tell: true, At: 42}},
		{"a jumbo payload of 3 bytes", "c20300000000", silent},
		{"a label", "070800000000000000000000000000", silent},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(c.options)
			if err != nil {
				t.Fatal(err)
			}
			for len(b)%8 != 6 {
				b = append(b, 0)
			}
			ip := make([]byte, 40, 80)
			ip[0], ip[6] = 0x60, ProtoHopByHop
			ip = append(ip, ProtoUDP, byte((len(b)+2)/8-1))
			ip = append(ip, b...)
			ip = append(ip, 0x10, 0, 0, 53, 0, 8, 0, 0)
			binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
			packet := append(make([]byte, Headroom+12, Headroom+200), 0x86, 0xdd)
			packet = append(packet, ip...)
			var f Frame
			f.Reset(packet, Headroom, len(packet), len(packet)-Headroom)
			var p Parser
			if v := p.Parse(&f); v != Continue {
				t.Fatalf("Parse = %s", v)
			}
			if got := f.HopOptions(); got != c.want {
				t.Errorf("HopOptions = %+v, want %+v", got, c.want)
			}
		})
	}
}

func FuzzHopOptions(f *testing.F) {
	for _, seed := range []string{"010400000000", "fe0400000000", "0100be020000", "c20400000000", "050900000000", "3e0400000000c20400020000"} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, options []byte) {
		options = options[:min(len(options), 8*256-2)]
		for len(options)%8 != 6 {
			options = append(options, 0)
		}
		ip := make([]byte, 40, 48+len(options))
		ip[0], ip[6] = 0x60, ProtoHopByHop // and nothing behind it: next header 59
		ip = append(append(ip, 59, byte((len(options)+2)/8-1)), options...)
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		packet := append(append(make([]byte, Headroom+12), 0x86, 0xdd), ip...)
		var fr Frame
		fr.Reset(packet, Headroom, len(packet), len(packet)-Headroom)
		var p Parser
		if p.Parse(&fr) != Continue {
			return
		}
		got := fr.HopOptions()
		if got.Tell && (!got.Invalid || got.At < 40 || got.At >= len(ip)) {
			t.Fatalf("%x: %+v", options, got)
		}
	})
}
