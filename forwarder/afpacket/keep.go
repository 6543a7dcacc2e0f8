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

// keptRings returns the rings in the store. One that cannot be continued is forgotten: what
// waits in it is lost, and its filter lets nothing pass that a new ring would get as well.
func (c *Config) keptRings() (all []keptRing) {
	for _, name := range c.Store.Names(ringPrefix) {
		k, err := c.keptRing(name)
		if err != nil {
			c.Logger.Warn("a ring cannot be continued", "ring", name, "err", err)
			_ = c.Store.Forget(name)
			continue
		}
		all = append(all, k)
	}
	return all
}

func (c *Config) keptRing(name string) (k keptRing, err error) {
	_, form, _ := strings.Cut(name, ",")
	k.name = name
	if k.shape, err = parseShape(form); err != nil {
		return k, err
	}
	if k.file = c.Store.Take(name); k.file == nil {
		return k, errors.New("afpacket: it is kept no longer")
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

// continueGroup returns n ports that read on in kept rings, or none if there are no rings of
// the shape that the Config wants, and the rings that are left over.
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
	for i, k := range fit {
		p, err := newPort(&cfg)
		if err == nil {
			ports = append(ports, p)
			err = p.resume(&cfg, k)
		}
		if err != nil {
			closeAll(ports)
			closeRings(fit[min(i+1, n):])
			return nil, nil, err
		}
	}
	for _, k := range byName {
		rest = append(rest, k)
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

// resume makes a port read on in a kept ring.
func (p *Port) resume(cfg *Config, k keptRing) error {
	if p.vnet != k.vnet {
		return errors.New("afpacket: the ring has other facts than what is sent")
	}
	if err := p.useSocket(k.file); err != nil {
		return err
	}
	if err := p.control(func(fd int) error { return p.attach(fd, cfg, k.shape) }); err != nil {
		return err
	}
	skipped, err := p.rx.ring.resume(int(p.rx.poll[0].Fd))
	if err != nil {
		return fmt.Errorf("afpacket: %s: %w", k.name, err)
	}
	if skipped > 0 {
		cfg.Logger.Warn("frames at which earlier processes ended are skipped", "ring", k.name, "frames", skipped)
		p.rx.counters.skipped.Add(uint64(skipped))
	}
	return p.SetFilter(cfg.Filter)
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
func inherit(cfg *Config, ports []*Port, old []keptRing) error {
	wait := false
	for i, k := range old {
		o := &Port{name: cfg.Interface.Name, index: cfg.Interface.Index, vnet: k.vnet}
		if err := o.resumeOld(cfg, k); err != nil {
			cfg.Logger.Warn("what waits in a ring is lost", "ring", k.name, "err", err)
			_ = cfg.Store.Forget(k.name)
			_ = o.closeReceive()
			continue
		}
		wait = wait || k.profile == Throughput
		p := ports[i%len(ports)]
		p.before = append(p.before, &formerRing{o, func() { _ = cfg.Store.Forget(k.name) }})
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

// resumeOld prepares a ring to be read to its end.
func (p *Port) resumeOld(cfg *Config, k keptRing) error {
	if err := p.useSocket(k.file); err != nil {
		return err
	}
	if err := p.control(func(fd int) error { return p.attach(fd, cfg, k.shape) }); err != nil {
		return err
	}
	if _, err := p.rx.ring.resume(int(p.rx.poll[0].Fd)); err != nil {
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
