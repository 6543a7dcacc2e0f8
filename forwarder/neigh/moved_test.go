package neigh

import (
	"testing"
	"time"

	"uvs/forwarder/frame"
)

func TestAnAnnouncementCountsAtOnce(t *testing.T) {
	for name, message := range map[string]frame.Frame{
		"gratuitous request": gratuitous(peer(macNew), ip("10.0.0.9"))[0],
		"gratuitous reply":   gratuitous(peer(macNew), ip("10.0.0.9"))[1],
	} {
		run(t, Config{}, twoLinks(), func(b *bench) {
			b.lookup("10.0.0.9")
			b.arrive(eth0, says("10.0.0.9", macPeer))
			wait(200 * time.Millisecond)
			b.arrive(eth0, message)
			if h := b.lookup("10.0.0.9"); h.DstMAC != macNew {
				t.Errorf("%s within a second of the old machine's answer: %+v", name, h)
			}
		})
	}
}
