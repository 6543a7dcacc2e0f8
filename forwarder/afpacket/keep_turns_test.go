package afpacket

import (
	"math/rand/v2"
	"testing"
	"time"

	"uvs/internal/fdstore"
	"uvs/internal/nstest"
)

// Readers end and begin at any moment of a stream, as directors do that replace each other.
func TestReadersTakeTurnsInAStream(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			c := newTally(t)
			cfg := Config{Profile: f.profile, Store: fdstore.New()}
			defer cfg.Store.Close()
			stop := c.serve(openKept(t, cfg, f.n))
			end, ended := make(chan bool), make(chan bool)
			go func() {
				defer close(ended)
				for c.sent < 60000 {
					select {
					case <-end:
						return
					default:
					}
					c.send(1 + rand.N(3))
					time.Sleep(rand.N(300 * time.Microsecond)) // a stream, no burst
				}
			}()
			for range 15 {
				seen := c.seen()
				nstest.Eventually(t, "some come", func() bool { return c.seen() > seen })
				stop()
				stop = c.serve(openKept(t, cfg, f.n))
			}
			close(end)
			<-ended
			defer stop()
			c.judge(0, 0)
		})
	}
}
