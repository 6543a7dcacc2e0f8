package ipvsnl

import (
	"context"
	"encoding/hex"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzAnswer has messages of any form answered. Each gets at most well-formed datagrams.
func FuzzAnswer(f *testing.F) {
	for _, r := range recordings(f) {
		for _, s := range r.Steps {
			ask, err := hex.DecodeString(s.Ask)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(ask)
		}
	}
	f.Add([]byte(seek(0, text(unix.CTRL_ATTR_FAMILY_NAME, Name))))
	family := &Family{Director: startDirector(f)}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		for m, rest := Next(datagram); m != nil; m, rest = Next(rest) {
			family.Seeks(m)
			for _, answer := range append(family.Answer(context.Background(), m), m.Ack()...) {
				for len(answer) > 0 {
					var one Message
					if one, answer = Next(answer); one == nil {
						t.Fatalf("%x got an answer that is no message", []byte(m))
					}
				}
			}
		}
	})
}
