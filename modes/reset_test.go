package modes_test

import (
	"testing"

	"uvs/forwarder/frame"
	"uvs/modes"
)

// FuzzReset has any packet answered by AbortSender, AbortReceiver and HostDown. Their packets
// have correct lengths and checksums, and the addresses of the cause.
func FuzzReset(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	buf := make([]byte, modes.AnswerLen)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 65535 {
			return
		}
		cause := frameOf(b)
		var p frame.Parser
		if p.Parse(cause) != frame.Continue || cause.Info.Fragment {
			return
		}
		var out frame.Frame
		if modes.AbortSender(&out, buf, cause) {
			sound(t, &out)
			if out.Flow != cause.Flow.Reverse() {
				t.Errorf("the answer to %s is %s", cause.Flow, out.Flow)
			}
		}
		if modes.AbortReceiver(&out, buf, cause) {
			sound(t, &out)
			if out.Flow != cause.Flow {
				t.Errorf("in place of %s it is %s", cause.Flow, out.Flow)
			}
		}
		for _, src := range []string{"10.9.0.1", "fd00:9::1"} {
			if modes.HostDown(&out, buf, cause, addr(src), 1) {
				sound(t, &out)
			}
		}
	})
}

// sound parses a built frame and verifies its transport checksum.
func sound(t *testing.T, f *frame.Frame) {
	t.Helper()
	var p frame.Parser
	if v := p.Parse(f); v != frame.Continue {
		t.Fatalf("%x: %s", f.Bytes(), v)
	}
	src, dst := f.L3()[12:16], f.L3()[16:20]
	if f.Is6() {
		src, dst = f.L3()[8:24], f.L3()[24:40]
	}
	var sum uint64
	switch f.Info.Proto {
	case frame.ProtoSCTP:
		return // frame has tests for its CRC
	case frame.ProtoICMP:
	default:
		sum = frame.PseudoSum(src, dst, f.Info.Proto, len(f.L4()))
	}
	if frame.Fold(frame.Sum(f.L4(), sum)) != 0xffff {
		t.Errorf("%x: the checksum is wrong", f.Bytes())
	}
}
