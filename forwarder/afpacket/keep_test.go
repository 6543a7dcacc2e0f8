package afpacket

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/fdstore"
	"uvs/internal/nstest"
)

func openKept(t *testing.T, cfg Config, n int) []*Port {
	t.Helper()
	ports, err := OpenGroup(cfg, n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// forms are the kinds and numbers of rings that a director can have.
var forms = []struct {
	name    string
	profile Profile
	n       int
}{
	{"slots", Latency, 1}, {"slots of two workers", Latency, 2},
	{"blocks", Throughput, 1}, {"blocks of two workers", Throughput, 2},
}

func TestFramesThatComeWhileNobodyRunsAreReadByTheNext(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			c := newTally(t)
			cfg := Config{Profile: f.profile, Store: fdstore.New()}
			defer cfg.Store.Close()
			for range 5 {
				stop := c.serve(openKept(t, cfg, f.n))
				c.send(300)
				nstest.Eventually(t, "the frames come", func() bool { return c.seen() >= c.arrived() })
				c.send(100) // some of which the workers leave in the ring
				stop()
				c.send(2000)
			}
			defer c.serve(openKept(t, cfg, f.n))()
			c.judge(0, 0)
			if n := len(cfg.Store.Names("")); n != f.n {
				t.Errorf("%d rings are kept, want %d", n, f.n)
			}
		})
	}
}

func TestAFullRingIsReadFromItsOldestFrame(t *testing.T) {
	c := newTally(t)
	cfg := Config{Slots: 256, Store: fdstore.New()}
	defer cfg.Store.Close()
	stop := c.serve(openKept(t, cfg, 1))
	c.send(100) // so that the ring does not begin at its first slot
	nstest.Eventually(t, "the frames come", func() bool { return c.seen() >= c.arrived() })
	stop()
	ports := openKept(t, cfg, 1)
	slots := ports[0].shape.blocks * ports[0].shape.perBlock
	c.send(slots + 500)
	nstest.Eventually(t, "the ring is full", func() bool { return ports[0].Stats().RingDrops >= 500 })
	lost := int(ports[0].Stats().RingDrops)
	_ = ports[0].Close()
	defer c.serve(openKept(t, cfg, 1))()
	nstest.Eventually(t, "what the ring holds comes", func() bool { return c.seen() == c.arrived()-lost })
	c.send(100)
	nstest.Eventually(t, "what comes later, too", func() bool { return c.seen() == c.arrived()-lost })
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.sent - lost - 200 {
		if c.times[i+1] != 1 {
			t.Fatalf("frame %d of %d came %d times", i+1, c.sent, c.times[i+1])
		}
	}
	if c.wrong > 0 {
		t.Errorf("%d frames in the wrong order", c.wrong)
	}
}

// A process that is killed with frames in its hands has perhaps not sent them: they come
// once more, but no others.
func TestFramesOfAKilledReaderComeOnceMore(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			c := newTally(t)
			cfg := Config{Profile: f.profile, Store: fdstore.New()}
			defer cfg.Store.Close()
			const kills, most = 5, 16
			for range kills {
				dead := openKept(t, cfg, f.n)
				defer closeAll(dead)
				c.send(400)
				for _, p := range dead {
					fs := make([]frame.Frame, most)
					for range 3 { // the third batch is what it dies of
						n, err := p.Recv(fs)
						if err != nil {
							t.Fatal(err)
						}
						c.note(p, fs[:n])
					}
				}
			}
			defer c.serve(openKept(t, cfg, f.n))()
			c.judge(kills*f.n*most, kills*f.n)
		})
	}
}

func TestARingOfAnotherShapeIsReadToItsEndFirst(t *testing.T) {
	for _, to := range []struct {
		name string
		Config
		n int
	}{
		{"more workers", Config{}, 2}, {"fewer slots", Config{Slots: 300}, 1},
		{"blocks", Config{Profile: Throughput}, 1}, {"blocks of two workers", Config{Profile: Throughput}, 2},
	} {
		for _, from := range forms {
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				c := newTally(t)
				store := fdstore.New()
				defer store.Close()
				stop := c.serve(openKept(t, Config{Profile: from.profile, Store: store}, from.n))
				c.send(200)
				stop()
				c.send(250)
				cfg := to.Config
				cfg.Store = store
				ports := openKept(t, cfg, to.n)
				c.send(100)
				stop = c.serve(ports)
				defer func() { stop() }()
				c.judge(0, from.n-1) // one ring is read after the other
				nstest.Eventually(t, "the old rings are forgotten", func() bool { return len(store.Names("")) == to.n })
			})
		}
	}
}

// One frame that kills every director that takes it must not keep all others away.
func TestFramesAtWhichReadersEndAgainAndAgainAreSkipped(t *testing.T) {
	for _, profile := range []Profile{Latency, Throughput} {
		t.Run(profile.String(), func(t *testing.T) {
			c := newTally(t)
			cfg := Config{Profile: profile, Store: fdstore.New()}
			defer cfg.Store.Close()
			first := openKept(t, cfg, 1)
			defer closeAll(first)
			c.send(skipFrames + 20)
			for range maxTries {
				dead := openKept(t, cfg, 1)
				defer closeAll(dead)
				if _, err := dead[0].Recv(make([]frame.Frame, 1)); err != nil {
					t.Fatal(err)
				}
			}
			next := openKept(t, cfg, 1)
			defer c.serve(next)()
			c.send(30)
			nstest.Eventually(t, "the others come", func() bool { return c.came(c.sent) })
			if s := next[0].Stats(); s.Skipped != skipFrames {
				t.Errorf("%d frames were skipped, want %d", s.Skipped, skipFrames)
			}
		})
	}
}

func (c *tally) came(number int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times[number] > 0
}

// Frames that are longer than a slot wait in the socket's queue, which a killed reader has
// read further than the ring says.
func TestLongFramesFindTheirSlotAfterAKilledReader(t *testing.T) {
	nstest.Veth(t, "near", "far")
	wire := conform.OpenWire(t, "far")
	store := fdstore.New()
	defer store.Close()
	super := func(id byte) porttest.Frame {
		f := conform.Super()
		f.Bytes[19] = id // of the IP header's identification
		return f
	}
	dead, err := OpenGroup(Config{Store: store}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(dead)
	for id := range byte(6) {
		wire.InjectFrames(super(id), porttest.Frame{Bytes: conform.UDP(uint16(id), 18)})
	}
	ring := dead[0].rx.ring.(*slotRing)
	nstest.Eventually(t, "all are in the ring", func() bool { return ring.filled(11) })
	if n, err := dead[0].Recv(make([]frame.Frame, 5)); n != 5 || err != nil { // three long ones
		t.Fatal(n, err)
	}
	next, err := OpenGroup(Config{Store: store}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(next)
	whole, small := map[byte]bool{}, 0
	for fs := make([]frame.Frame, 32); !whole[5]; {
		n, err := next[0].Recv(fs)
		if err != nil {
			t.Fatal(err)
		}
		for i := range fs[:n] {
			f := &fs[i]
			b := f.Bytes()
			switch {
			case b[12] != 8:
			case b[23] == 17:
				small++
			case f.Cut():
				if b[19] > 2 {
					t.Errorf("super-frame %d is cut", b[19])
				}
			default:
				if want := super(b[19]); len(b) != len(want.Bytes) {
					t.Errorf("super-frame %d has %d bytes, want %d", b[19], len(b), len(want.Bytes))
				}
				whole[b[19]] = true
			}
		}
	}
	for id := byte(3); id < 6; id++ {
		if !whole[id] {
			t.Errorf("super-frame %d did not come whole", id)
		}
	}
	if small < 3 {
		t.Errorf("%d small frames came, want at least 3", small)
	}
}

func TestWhatIsNoRingIsNotContinued(t *testing.T) {
	nstest.Veth(t, "near", "far")
	for name, wrong := range map[string]string{
		"a shape of the future":    ringPrefix + "0/1,v4,whatever",
		"another size":             ringPrefix + "0/1,v2,slot1792,block131072,blocks70,vnettrue",
		"a slot of no size":        ringPrefix + "0/1,v2,slot0,block131072,blocks71,vnettrue",
		"blocks without end":       ringPrefix + "0/1,v2,slot1792,block131072,blocks99999999999,vnettrue",
		"a file that is no socket": ringName(0, 1, shape{geometry: planRing(1792, 5120), vnet: true}),
	} {
		t.Run(name, func(t *testing.T) {
			store := fdstore.New()
			defer store.Close()
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := store.Keep(wrong, f); err != nil {
				t.Fatal(err)
			}
			ports, err := OpenGroup(Config{Store: store}, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(ports)
			if names := store.Names(""); len(names) != 1 || names[0] == wrong && !strings.Contains(name, "file") {
				t.Errorf("kept are %v", names)
			}
		})
	}
}

// A worker that is told to end finishes its batch: what it was lent is sent.
func TestAClosedPortSendsWhatItsWorkerStillHas(t *testing.T) {
	nstest.Veth(t, "near", "far")
	p, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	wire := conform.OpenWire(t, "far")
	wire.InjectFrames(porttest.Frame{Bytes: conform.UDP(1, 18)})
	fs := make([]frame.Frame, 4)
	if _, err := p.Recv(fs); err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	fs[0].Egress = byName(t, "near").Index
	if n, err := p.Send(fs[:1]); n != 1 || err != nil {
		t.Errorf("Send after Close: %d, %v", n, err)
	}
	if _, err := p.Recv(fs); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Recv: %v", err)
	}
}
