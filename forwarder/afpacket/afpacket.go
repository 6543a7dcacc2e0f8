// Package afpacket is the director's port over Linux packet sockets: frames are
// received from a ring shared with the kernel and sent in batches straight from where
// they are in memory, with their checksum and segmentation facts (PACKET_VNET_HDR) in
// both directions.
//
// The sockets are opened by mdlayher/packet; the ring, fan-out and the other options of
// packet(7) are set on their descriptors. A port receives on one and sends on another,
// and Go's network poller watches neither (receiver and outlet say why). A worker waits
// in poll(2), and only after the ring is drained: a wake-up costs more than a packet, so
// what arrived meanwhile is handled as one batch.
//
// A received frame is never copied in user space. It lies in its ring slot with
// frame.Headroom free bytes before it; a super-frame larger than a slot is read into a
// side buffer of 64 KiB, in its order of arrival. What does not fit even there is
// delivered with Frame.Cut true and counted, never shortened silently. Sending copies
// once, in the kernel.
//
// A port is for one interface, or for all of the network namespace: its sockets are
// then bound to none, the ring gives the interface on which a frame arrived, and each
// message the one on which it is sent, so that frames for several interfaces fill one
// batch. Interfaces may come, go, and change their MTU or name under such a port. A
// frame from one without Ethernet gets an Ethernet header on arrival, and is sent
// without it.
//
// Open makes a port with a ring, OpenGroup several that share the traffic by flow
// (PACKET_FANOUT_HASH), Sender one that only sends. A worker
// owns a Port: Recv and Send belong to one goroutine; Close, SetFilter and
// Stats may be called from any.
package afpacket

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"golang.org/x/net/bpf"

	"uvs/forwarder/port"
	"uvs/internal/fdstore"
)

// Profile chooses the kind of receive ring.
type Profile uint8

const (
	// Latency is TPACKET_V2: each frame is visible when it arrives.
	Latency Profile = iota
	// Throughput is TPACKET_V3: frames arrive in blocks, which costs a tenth less, but a
	// block that is not full is handed over only after a millisecond.
	Throughput
)

// String returns the name ParseProfile takes.
func (p Profile) String() string {
	if p == Throughput {
		return "throughput"
	}
	return "latency"
}

// ParseProfile returns the profile called latency or throughput.
func ParseProfile(name string) (Profile, error) {
	switch name {
	case "latency":
		return Latency, nil
	case "throughput":
		return Throughput, nil
	}
	return 0, fmt.Errorf("afpacket: no profile %q: latency or throughput", name)
}

// Config describes a port. The zero Config is a port for all interfaces.
type Config struct {
	// Interface is the network interface in the calling thread's network
	// namespace. Its Index, Name and MTU are used. Nil is all interfaces.
	Interface *net.Interface
	// MTU is the largest of all interfaces in bytes, 0 for that of Interface, or
	// 1500. Larger frames arrive as well, at a higher cost.
	MTU int
	// Profile chooses the receive ring.
	Profile Profile
	// Slots is how many frames the Latency ring holds, 0 for 5120: 20 ms at 250,000 frames
	// a second, or fewer in a group whose rings would otherwise exceed groupBytes. A
	// worker that is descheduled longer loses frames.
	Slots int
	// Filter selects what is received; nil is everything. It takes effect
	// together with the ring.
	Filter []bpf.RawInstruction
	// Store keeps the rings of all interfaces beyond the life of the process; nil keeps
	// none. OpenGroup reads on in those that are there.
	Store *fdstore.Store
	// Logger gets one message for each thing that the kernel does not grant; nil logs
	// nothing.
	Logger *slog.Logger

	fanout *fanout
	group  int // ports in it, at least 1

	// Limits that tests impose on the kernel.
	bufferLimit int  // receive buffer in bytes, 0 for as much as it grants
	noOffloads  bool // PACKET_VNET_HDR is unknown
}

func (c *Config) check() error {
	if c.Interface == nil {
		c.Interface = &net.Interface{Name: "all interfaces", MTU: cmp.Or(c.MTU, 1500)}
	}
	c.MTU = cmp.Or(c.MTU, c.Interface.MTU)
	c.group = max(c.group, 1)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Slots == 0 {
		c.Slots = min(5120, groupBytes/c.group/slotSize(min(c.MTU, largestSlotMTU)))
	}
	if c.Slots < 0 || c.Slots > 1<<16 {
		return fmt.Errorf("afpacket: %d ring slots: 1 to 65536 are possible", c.Slots)
	}
	return nil
}

// Open returns a port that receives and sends on an interface. It needs
// CAP_NET_RAW in the user namespace that owns the network namespace.
func Open(cfg Config) (*Port, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	p, err := newPort(&cfg)
	if err != nil {
		return nil, err
	}
	if err := p.setUpReceive(&cfg); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("afpacket: receive on %s: %w", p.name, err)
	}
	return p, nil
}

// OpenGroup returns n ports among which the kernel divides the traffic, all packets of
// a flow to the same one: PACKET_FANOUT_HASH, a hash that is equal for both directions
// of a flow (packet(7)). Fragments and the replies of translated connections may arrive
// on another port.
//
// With a Store the ports read on in rings of an earlier process. Where these have another
// shape, or there are more or fewer of them, the ports have rings of their own and read the
// others to their end first. No frame comes twice, except those that an earlier process had
// taken when it was killed: one batch of each port, with what it had changed in them. A ring
// that cannot be continued is forgotten; at a shortage (port.IsTransient) all stay.
func OpenGroup(cfg Config, n int) ([]*Port, error) {
	cfg.group = max(n, 1)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	ports, rest, err := continueKept(cfg, cfg.group)
	if err != nil {
		return nil, err
	}
	fresh := ports == nil
	if fresh {
		filter := cfg.Filter
		if len(rest) > 0 {
			cfg.Filter = port.RejectAll()
		}
		if ports, err = newGroup(cfg, cfg.group); err != nil {
			closeRings(rest)
			return nil, err
		}
		cfg.Filter = filter
		keepRings(&cfg, ports)
	}
	if !fresh || len(rest) > 0 {
		err = inherit(&cfg, ports, rest)
	}
	if err != nil {
		closeAll(ports)
		return nil, err
	}
	return ports, nil
}

// newGroup opens n ports with new rings.
func newGroup(cfg Config, n int) ([]*Port, error) {
	if n == 1 {
		p, err := Open(cfg)
		if err != nil {
			return nil, err
		}
		return []*Port{p}, nil
	}
	cfg.fanout = &fanout{}
	ports, errs := make([]*Port, n), make([]error, n)
	ports[0], errs[0] = Open(cfg) // makes the group
	if errs[0] == nil {
		var wg sync.WaitGroup
		for i := 1; i < n; i++ { // each waits some ten milliseconds for the kernel's readers
			wg.Go(func() { ports[i], errs[i] = Open(cfg) })
		}
		wg.Wait()
	}
	if err := cmp.Or(errs...); err != nil {
		closeAll(ports)
		return nil, err
	}
	return ports, nil
}

// Sender returns a port that only sends: no ring, and no frame is ever queued
// for it. Its Recv fails.
func Sender(cfg Config) (*Port, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return newPort(&cfg)
}
