package afpacket

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/nstest"
)

// tally counts how often each numbered frame came.
type tally struct {
	t          *testing.T
	wire       conform.Wire
	sent, size int     // frames, and bytes of payload in each
	ports      []*Port // that have been served

	mu    sync.Mutex
	times map[int]int
	last  map[*Port]int
	wrong int // frames that came after a later one of the same port
}

func newTally(t *testing.T) *tally {
	nstest.Veth(t, "near", "far")
	return &tally{t: t, wire: conform.OpenWire(t, "far"), size: 18, times: map[int]int{}, last: map[*Port]int{}}
}

// send sends n more frames, each a flow of its own.
func (c *tally) send(n int) {
	for ; n > 0; n -= min(n, 50) {
		all := make([]porttest.Frame, min(n, 50))
		for i := range all {
			c.sent++
			all[i].Bytes = conform.UDP(uint16(c.sent), c.size)
		}
		c.wire.InjectFrames(all...)
	}
}

// note counts the frames of a batch and returns how many they are.
func (c *tally) note(p *Port, fs []frame.Frame) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for i := range fs {
		b := fs[i].Bytes()
		if len(b) < 42 || b[12] != 8 || b[23] != 17 {
			continue // the host's own, such as neighbour discovery
		}
		number := int(binary.BigEndian.Uint16(b[34:]))
		if number < c.last[p] {
			c.wrong++
		}
		c.last[p] = number
		c.times[number]++
		n++
	}
	return n
}

// seen returns how many different frames came.
func (c *tally) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.times)
}

// ringDrops returns how many frames the kernel says it dropped because of the rings.
func (c *tally) ringDrops() (n int) {
	for _, p := range c.ports {
		n += int(p.Stats().RingDrops)
	}
	return n
}

// arrived returns how many frames are in the rings at least: on a busy machine the kernel
// may drop some between the ends of the wire (net.core.netdev_max_backlog), and a ring of
// blocks, of which one is used up every millisecond, is full after 64 ms of a slow stream.
func (c *tally) arrived() int {
	near, err := netlink.LinkByName("near")
	if err != nil {
		c.t.Fatal(err)
	}
	n := c.sent - int(near.Attrs().Statistics.RxDropped)
	for _, p := range c.ports {
		if _, blocks := p.rx.ring.(*blockRing); blocks {
			n -= int(p.Stats().RingDrops)
		}
	}
	return n
}

// serve runs a worker on each port until stop, which ends them as a director does.
func (c *tally) serve(ports []*Port) (stop func()) {
	c.ports = append(c.ports, ports...)
	var workers sync.WaitGroup
	for _, p := range ports {
		workers.Go(func() {
			fs := make([]frame.Frame, 16)
			for {
				n, err := p.Recv(fs)
				if err != nil {
					return
				}
				c.note(p, fs[:n])
			}
		})
	}
	return func() {
		for _, p := range ports {
			_ = p.Close()
		}
		workers.Wait()
	}
}

// judge checks that all frames came, how many at most more than once, and how many at most
// after a later one.
func (c *tally) judge(twice, late int) {
	c.t.Helper()
	nstest.Eventually(c.t, "all frames come", func() bool { return c.seen() >= c.arrived() })
	c.mu.Lock()
	defer c.mu.Unlock()
	again := 0
	for _, n := range c.times {
		again += n - 1
	}
	if again > twice || c.wrong > late {
		c.t.Errorf("%d frames came twice, want %d at most; %d in the wrong order, want %d", again, twice, c.wrong, late)
	}
}
