package afpacket

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

// ringPrefix begins the names under which rings are kept.
const ringPrefix = "ring"

// shape is what the next process has to know about a ring to read on in it.
type shape struct {
	profile Profile
	geometry
	vnet bool // a virtio header precedes each frame
}

const shapeFormat = "v%d,slot%d,block%d,blocks%d,vnet%t"

// String returns the form that parseShape reads.
func (s shape) String() string {
	version := 2
	if s.profile == Throughput {
		version = 3
	}
	return fmt.Sprintf(shapeFormat, version, s.slotSize, s.blockSize, s.blocks, s.vnet)
}

// parseShape returns the shape in the name of a ring, if it is one that a process can map.
func parseShape(text string) (s shape, err error) {
	version := 0
	if _, err := fmt.Sscanf(text, shapeFormat, &version, &s.slotSize, &s.blockSize, &s.blocks, &s.vnet); err != nil {
		return s, fmt.Errorf("afpacket: ring of shape %q: %w", text, err)
	}
	if version == 3 {
		s.profile = Throughput
	}
	sane := s.slotSize >= slotSize(0) && s.blockSize >= s.slotSize && s.blockSize <= 1<<20 && s.blocks > 0 && s.blocks <= 1<<16
	if version != 2 && version != 3 || !sane {
		return s, fmt.Errorf("afpacket: ring of shape %q is not one that this version reads", text)
	}
	s.perBlock = s.blockSize / s.slotSize
	return s, nil
}

// ringName is the name under which ring i of a group of n is kept.
func ringName(i, n int, s shape) string { return fmt.Sprintf("%s%d/%d,%v", ringPrefix, i, n, s) }

// keptRing is a ring of an earlier process.
type keptRing struct {
	name string
	file *os.File
	shape
}

// unusable is why a kept ring cannot be read on.
type unusable struct {
	ring string // its name
	error
}

func (u unusable) Unwrap() error { return u.error }

// keptRings returns the rings in the store. One that cannot be continued is forgotten. The
// error is a shortage, at which none is lost.
func (c *Config) keptRings() (all []keptRing, err error) {
	for _, name := range c.Store.Names(ringPrefix) {
		k, err := c.keptRing(name)
		if port.IsTransient(err) {
			closeRings(all)
			return nil, err
		}
		if err != nil {
			c.forget(unusable{name, err})
			continue
		}
		all = append(all, k)
	}
	return all, nil
}

// forget closes a ring that cannot be continued: what waits in it is lost, and its filter
// lets nothing pass that a new ring would get as well.
func (c *Config) forget(u unusable) {
	c.Logger.Warn("a ring cannot be continued; what waits in it is lost", "ring", u.ring, "err", u.error)
	_ = c.Store.Forget(u.ring)
}

func (c *Config) keptRing(name string) (k keptRing, err error) {
	_, form, _ := strings.Cut(name, ",")
	k.name = name
	if k.shape, err = parseShape(form); err != nil {
		return k, err
	}
	if k.file = c.Store.Take(name); k.file == nil {
		return k, fmt.Errorf("afpacket: take %s: %w", name, unix.EMFILE) // nothing else prevents it
	}
	if err = onDescriptor(k.file, k.verify); err != nil {
		_ = k.file.Close()
	}
	return k, err
}

// verify checks that a descriptor is what its name says.
func (k *keptRing) verify(fd int) error {
	for _, o := range []option{
		{"SO_DOMAIN", unix.SOL_SOCKET, unix.SO_DOMAIN, unix.AF_PACKET},
		{"PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, k.profile.version()},
		{"PACKET_RESERVE", unix.SOL_PACKET, unix.PACKET_RESERVE, reserve},
	} {
		if v, err := unix.GetsockoptInt(fd, o.level, o.code); err != nil || v != o.value {
			return fmt.Errorf("afpacket: %s is %d, want %d (%v)", o.name, v, o.value, err)
		}
	}
	v, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR)
	if err == nil && (v != 0) != k.vnet {
		err = fmt.Errorf("afpacket: PACKET_VNET_HDR is %d", v)
	}
	return err
}

func onDescriptor(f *os.File, fn func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = fn(int(fd)) })
	return errors.Join(cerr, err)
}

// continueKept returns n ports that read on in the rings of the store, or none if there are no
// rings of the shape that the Config wants, and the rings that are left over. It forgets rings
// that cannot be continued.
func continueKept(cfg Config, n int) (ports []*Port, rest []keptRing, err error) {
	for {
		kept, err := cfg.keptRings()
		if err != nil {
			return nil, nil, err
		}
		ports, rest, err := continueGroup(cfg, n, kept)
		var u unusable
		if !errors.As(err, &u) {
			return ports, rest, err
		}
		cfg.forget(u)
	}
}

// continueGroup is continueKept for rings that were taken from the store. The ports have the
// filter of the process before. An unusable ring is the error.
func continueGroup(cfg Config, n int, kept []keptRing) (ports []*Port, rest []keptRing, err error) {
	byName := map[string]keptRing{}
	for _, k := range kept {
		byName[k.name] = k
	}
	var fit []keptRing
	for i := range n {
		k, there := byName[ringName(i, n, wantedShape(&cfg, kept))]
		if there {
			fit = append(fit, k)
			delete(byName, k.name)
		}
	}
	if len(kept) == 0 || len(fit) < n {
		return nil, kept, nil
	}
	for _, k := range byName {
		rest = append(rest, k)
	}
	for _, k := range fit {
		p, err := newPort(&cfg)
		if err == nil {
			ports = append(ports, p)
			err = p.resume(&cfg, k)
		}
		if err != nil {
			closeAll(ports)
			closeRings(fit[len(ports):])
			closeRings(rest)
			return nil, nil, err
		}
	}
	return ports, rest, nil
}

// wantedShape returns the shape that a ring for the Config would have. How much the kernel
// grants for a receive buffer decides over it, and a kept ring knows that.
func wantedShape(cfg *Config, kept []keptRing) shape {
	buffer := 0
	for _, k := range kept[:min(1, len(kept))] {
		_ = onDescriptor(k.file, func(fd int) error {
			buffer = growReceiveBuffer(fd, cfg.bufferLimit)
			return nil
		})
	}
	return shapeFor(cfg, buffer, !cfg.noOffloads)
}

// resume makes a port read on in a kept ring, which is the port's from now on. The error is
// a shortage, or that the ring is unusable.
func (p *Port) resume(cfg *Config, k keptRing) error {
	skipped, err := p.goOn(cfg, k)
	if err == nil && p.vnet != k.vnet {
		err = errors.New("afpacket: the ring has other facts than what is sent")
	}
	if port.IsTransient(err) {
		return fmt.Errorf("afpacket: %s: %w", k.name, err)
	}
	if err != nil {
		return unusable{k.name, err}
	}
	if skipped > 0 {
		cfg.Logger.Warn("frames at which earlier processes ended are skipped", "ring", k.name, "frames", skipped)
		p.rx.counters.skipped.Add(uint64(skipped))
	}
	return nil
}

// goOn maps a kept ring and finds out where to read on.
func (p *Port) goOn(cfg *Config, k keptRing) (skipped int, err error) {
	if err := p.useSocket(k.file); err != nil {
		return 0, err
	}
	if err := p.control(func(fd int) error { return p.attach(fd, cfg, k.shape) }); err != nil {
		return 0, err
	}
	return p.rx.ring.resume(int(p.rx.poll[0].Fd))
}

// keepRings gives the rings of ports to the store.
func keepRings(cfg *Config, ports []*Port) {
	for i, p := range ports {
		if err := cfg.Store.Keep(ringName(i, len(ports), p.shape), p.file); err != nil {
			cfg.Logger.Warn("a ring will not outlive this process", "err", err)
		}
	}
}

// blockWait is how long in milliseconds the kernel may take to hand over a TPACKET_V3 block
// to which no frames are added: its timer counts in jiffies, of up to 10 ms, and sees a block
// twice.
const blockWait = 25 * time.Millisecond

// inherit makes ports read what waits in rings of another shape, before what comes to their
// own, whose filter has let nothing pass so far. The kernel shows a frame to the newest
// socket first: since the old ones stop receiving before the new ones begin, none gets into
// both. What arrives between the two calls is lost.
//
// An old ring of the same name as a new one has lost its place in the store to that one.
func inherit(cfg *Config, ports []*Port, old []keptRing) error {
	wait := false
	for i, k := range old {
		done := func() { _ = cfg.Store.Forget(k.name) }
		if named(ports, k.name) {
			done = func() {}
		}
		o := &Port{name: cfg.Interface.Name, index: cfg.Interface.Index, vnet: k.vnet}
		if err := o.resumeOld(cfg, k); err != nil {
			_ = o.closeReceive()
			if port.IsTransient(err) {
				closeRings(old[i+1:])
				return err
			}
			cfg.Logger.Warn("what waits in a ring is lost", "ring", k.name, "err", err)
			done()
			continue
		}
		wait = wait || k.profile == Throughput
		p := ports[i%len(ports)]
		p.before = append(p.before, &formerRing{o, done})
	}
	for _, p := range ports {
		if err := p.SetFilter(cfg.Filter); err != nil {
			return err
		}
	}
	if wait {
		time.Sleep(blockWait)
	}
	return nil
}

// named reports whether the ring of one of the ports is kept under a name.
func named(ports []*Port, name string) bool {
	for i, p := range ports {
		if ringName(i, len(ports), p.shape) == name {
			return true
		}
	}
	return false
}

// resumeOld prepares a ring to be read to its end.
func (p *Port) resumeOld(cfg *Config, k keptRing) error {
	if _, err := p.goOn(cfg, k); err != nil {
		return err
	}
	return p.SetFilter(port.RejectAll())
}

// formerRing is a ring that gets no frames any more.
type formerRing struct {
	port *Port // without what sends
	done func()
}

// readBefore fills fs from the rings that get no frames any more, and closes those that are
// empty.
func (p *Port) readBefore(fs []frame.Frame) int {
	for len(p.before) > 0 {
		o := p.before[0]
		n := o.port.rx.ring.fill(int(o.port.rx.poll[0].Fd), fs)
		if n > 0 {
			p.rx.counters.received.Add(uint64(n))
			return n
		}
		o.end()
		o.done()
		p.before = p.before[1:]
	}
	return 0
}

// end releases the ring here. What waits in it stays with the store.
func (o *formerRing) end() {
	o.port.rx.ring.giveBack()
	_ = o.port.closeReceive()
}

func closeAll(ports []*Port) {
	for _, p := range ports {
		if p != nil {
			_ = p.Close()
		}
	}
}

func closeRings(rings []keptRing) {
	for _, k := range rings {
		_ = k.file.Close()
	}
}
