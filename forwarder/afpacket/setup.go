package afpacket

import (
	"fmt"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

const (
	// reserve is the room in bytes that PACKET_RESERVE asks for between a slot's header
	// and the frame: frame.Headroom, plus padding that puts the IP header of a TPACKET_V2
	// slot at offset 192, on a cache line.
	reserve = frame.Headroom + 6
	// macOffset is where the Ethernet header then begins (tpacket_rcv in
	// net/packet/af_packet.c; less by frame.OffloadLen without virtio header).
	macOffset = 192 - frame.EthernetLen

	// receiveBuffer is the requested size in bytes; the kernel doubles it. Copies of
	// oversize frames are charged to it, and beyond it they are cut: 32 MiB hold what 10
	// Gbit/s bring in 25 ms.
	receiveBuffer = 16 << 20
	// enoughBuffer is the least size in bytes of the doubled buffer with which slots can
	// be small. An unprivileged user may get less (net.core.rmem_max).
	enoughBuffer = 4 << 20
	// bigSlots is the number of slots when each has to hold a super-frame.
	bigSlots = 512
	// groupBytes limits the total size of a group's rings: nine full ones.
	groupBytes = 96 << 20
	// largestSlotMTU is the MTU in bytes up to which an ordinary frame fits into a slot.
	largestSlotMTU = 9216
)

// option is one integer socket option.
type option struct {
	name        string
	level, code int
	value       int
}

func (o option) set(fd int) error {
	if err := unix.SetsockoptInt(fd, o.level, o.code, o.value); err != nil {
		return fmt.Errorf("set %s: %w", o.name, err)
	}
	return nil
}

// control runs fn on the port's descriptor.
func (p *Port) control(fn func(fd int) error) error {
	var err error
	if cerr := p.raw.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// setUpReceive attaches the ring to the socket and starts receiving.
func (p *Port) setUpReceive(cfg *Config) error {
	if err := p.listen(cfg); err != nil {
		return err
	}
	if err := p.control(func(fd int) error { return p.addRing(fd, cfg) }); err != nil {
		return err
	}
	return p.SetFilter(cfg.Filter)
}

// addRing sets the receive options in the order the kernel requires: the virtio header,
// the fan-out and the reserve before the ring.
func (p *Port) addRing(fd int, cfg *Config) error {
	if p.index != 0 {
		if err := requireEthernet(fd); err != nil {
			return err
		}
	}
	if p.vnet {
		if err := vnetHeader.set(fd); err != nil {
			return err
		}
	}
	options := []option{
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{"PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, cfg.Profile.version()},
		{"PACKET_RESERVE", unix.SOL_PACKET, unix.PACKET_RESERVE, reserve},
		{"PACKET_COPY_THRESH", unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1},
	}
	for _, o := range options {
		if err := o.set(fd); err != nil {
			return err
		}
	}
	if err := cfg.fanout.join(fd); err != nil {
		return err
	}
	buffer := growReceiveBuffer(fd, cfg.bufferLimit)
	if buffer < enoughBuffer && cfg.Profile == Latency {
		cfg.Logger.Info("receive buffer is limited: larger, fewer ring slots", "interface", p.name, "buffer", buffer)
	}
	s := shapeFor(cfg, buffer, p.vnet)
	if err := s.makeRing(fd); err != nil {
		return err
	}
	if err := p.attach(fd, cfg, s); err != nil {
		return err
	}
	p.rx.ring.begin()
	return nil
}

func (p Profile) version() int {
	if p == Throughput {
		return unix.TPACKET_V3
	}
	return unix.TPACKET_V2
}

// requireEthernet refuses interfaces whose frames have no Ethernet header.
func requireEthernet(fd int) error {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("read bound address: %w", err)
	}
	ll, ok := sa.(*unix.SockaddrLinklayer)
	if !ok || ll.Hatype != unix.ARPHRD_ETHER && ll.Hatype != unix.ARPHRD_LOOPBACK {
		return fmt.Errorf("link type is not Ethernet: %w", unix.EPROTONOSUPPORT)
	}
	return nil
}

// growReceiveBuffer enlarges the receive buffer as far as permitted, or to a limit if
// that is not 0, and returns its size in bytes as the kernel counts it.
func growReceiveBuffer(fd, limit int) int {
	want := receiveBuffer
	if limit > 0 {
		want = limit
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, want)
	}
	n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return n
}

// shapeFor returns the ring that a Config asks for. The slots of a TPACKET_V2 ring fit the
// MTU, or hold any frame if the receive buffer is too small for copies.
func shapeFor(cfg *Config, buffer int, vnet bool) shape {
	s := shape{profile: cfg.Profile, vnet: vnet}
	if cfg.Profile == Throughput {
		s.geometry = geometry{
			slotSize: blockBytes, blockSize: blockBytes, perBlock: 1,
			blocks: min(blockCount, groupBytes/cfg.group/blockBytes),
		}
		return s
	}
	size, count := slotSize(min(cfg.MTU, largestSlotMTU)), cfg.Slots
	if buffer < enoughBuffer {
		size = slotSize(frame.MaxLen)
		count = min(count, bigSlots, groupBytes/cfg.group/size)
	}
	s.geometry = planRing(size, count)
	return s
}

// makeRing creates the ring.
func (s shape) makeRing(fd int) error {
	req := unix.TpacketReq3{
		Block_size: uint32(s.blockSize), Block_nr: uint32(s.blocks),
		Frame_size: uint32(s.slotSize), Frame_nr: uint32(s.blocks * s.perBlock),
	}
	var err error
	if s.profile == Throughput {
		req.Retire_blk_tov, req.Sizeof_priv = retireMillis, blockPrivate
		err = unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req)
	} else {
		err = unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: req.Block_size, Block_nr: req.Block_nr, Frame_size: req.Frame_size, Frame_nr: req.Frame_nr,
		})
	}
	if err != nil {
		return fmt.Errorf("make a ring of %d slots of %d bytes: %w", req.Frame_nr, req.Frame_size, err)
	}
	return nil
}

// attach maps a ring of a shape.
func (p *Port) attach(fd int, cfg *Config, s shape) error {
	memory, err := mapRing(fd, s.bytes())
	if err != nil {
		return err
	}
	c := &rxCounters{}
	var r ring
	if s.profile == Throughput {
		r = &blockRing{
			memory: memory, blockSize: s.blockSize, link: p.link(cfg), count: c,
			reader: reader{pos: positionAt(memory, blockPosition)},
		}
	} else {
		r = &slotRing{
			memory: memory, offsets: s.offsets(), slotSize: s.slotSize, link: p.link(cfg), count: c,
			reader: reader{pos: positionAt(memory, slotPosition)},
		}
	}
	p.shape, p.rx = s, &receiver{ring: r, memory: memory, counters: c}
	p.rx.poll[0].Fd, p.rx.poll[1].Fd = int32(fd), int32(p.wake.Fd())
	return nil
}

func (p *Port) link(cfg *Config) link {
	return link{index: p.index, mtu: cfg.MTU, vnet: p.vnet}
}

// mapRing maps the ring with all its pages: a page fault costs two microseconds.
func mapRing(fd, bytes int) ([]byte, error) {
	memory, err := unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map a ring of %d bytes: %w", bytes, err)
	}
	return memory, nil
}
