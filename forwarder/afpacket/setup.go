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
	p.rx.poll[1].Fd = int32(p.wake.Fd())
	_ = p.control(func(fd int) error { p.rx.poll[0].Fd = int32(fd); return nil })
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
	if cfg.Profile == Throughput {
		return p.addBlocks(fd, cfg)
	}
	return p.addSlots(fd, cfg, growReceiveBuffer(fd, cfg.bufferLimit))
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

// addSlots creates a TPACKET_V2 ring whose slots fit the MTU, or hold any frame if the
// receive buffer is too small for copies.
func (p *Port) addSlots(fd int, cfg *Config, buffer int) error {
	size, count := slotSize(min(cfg.MTU, largestSlotMTU)), cfg.Slots
	if buffer < enoughBuffer {
		size = slotSize(frame.MaxLen)
		count = min(count, bigSlots, groupBytes/cfg.group/size)
		cfg.Logger.Info("receive buffer is limited: larger, fewer ring slots",
			"interface", p.name, "buffer", buffer, "slots", count)
	}
	g := planRing(size, count)
	req := unix.TpacketReq{
		Block_size: uint32(g.blockSize), Block_nr: uint32(g.blocks),
		Frame_size: uint32(size), Frame_nr: uint32(g.blocks * g.perBlock),
	}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make a ring of %d slots of %d bytes: %w", req.Frame_nr, size, err)
	}
	memory, err := mapRing(fd, g.bytes())
	if err != nil {
		return err
	}
	c := &rxCounters{}
	p.rx = newReceiver(memory, &slotRing{
		memory: memory, offsets: g.offsets(), slotSize: size,
		link: p.link(cfg), count: c,
	}, c)
	return nil
}

// addBlocks creates a TPACKET_V3 ring.
func (p *Port) addBlocks(fd int, cfg *Config) error {
	blocks := uint32(min(blockCount, groupBytes/cfg.group/blockBytes))
	req := unix.TpacketReq3{
		Block_size: blockBytes, Block_nr: blocks,
		Frame_size: blockBytes, Frame_nr: blocks,
		Retire_blk_tov: retireMillis,
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make a ring of %d blocks of %d bytes: %w", blocks, blockBytes, err)
	}
	memory, err := mapRing(fd, blockBytes*int(blocks))
	if err != nil {
		return err
	}
	c := &rxCounters{}
	p.rx = newReceiver(memory, &blockRing{
		memory: memory, blockSize: blockBytes, link: p.link(cfg), count: c,
	}, c)
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
