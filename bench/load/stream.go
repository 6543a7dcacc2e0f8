package load

import (
	"encoding/binary"
	"net/netip"

	"uvs/forwarder/frame"
)

// A frame of the generator:
//
//	Ethernet 14 | IPv4 20 | UDP 8 | payload 18 or more
//	payload: magic 2, trial 4, flow 4, sequence 4, stamp 4, filler
//
// or with a TCP header of 20 bytes and the SYN flag instead of UDP's, and then of
// 76 bytes on the wire at least.
//
// The checksum is complete and covers all of it. The filler is a function
// of the offset, so that a frame with another's tail is found out.
const (
	ipOffset      = frame.EthernetLen
	udpOffset     = ipOffset + 20
	payloadOffset = udpOffset + 8
	udpHeader     = 8
	tcpHeader     = 20

	// Within the payload.
	trialAt = 2
	flowAt  = trialAt + 4
	seqAt   = flowAt + 4
	stampAt = seqAt + 4
	fillAt  = stampAt + 4

	magic = 0xb52e

	// smallest is the length in bytes of a frame of 64 bytes without its frame
	// check sequence, which a veth does not have.
	smallest = 60
	fcs      = 4
)

// imix are the frame sizes of the usual mix in the proportion 7 : 4 : 1 (FD.io
// CSIT, from a mix of 1999's Internet traffic).
var imix = []int{64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 570, 64}

// Stream makes the frames of a Load in order: flow after flow, then the next
// sequence number. Its slots are used again and again; a frame is valid until
// the slot comes round.
type Stream struct {
	trial  uint32
	first  uint32 // flow
	flows  uint32
	dst    netip.AddrPort
	spread uint32 // destination addresses
	proto  uint8
	header int // bytes of the transport header
	frames []frame.Frame
	bytes  [][]byte // of the frames, from the Ethernet header
	fixedI []uint64 // sums of what does not change: IP header
	fixedU []uint64 // and UDP datagram with pseudo-header
	next   uint64   // frames made so far
	plan   Plan     // of the stamps; nil: they are the time of sending

	replies []ends // by flow, of a stream of replies
}

// slots is a multiple of the batch and of the mix.
const (
	Batch = 64
	slots = 3 * Batch
)

// NewStream makes the stream of a load, as one trial: from the client of each flow to
// dst, between two MAC addresses.
func NewStream(load Load, trial uint32, dst netip.AddrPort, dstMAC, srcMAC []byte) *Stream {
	s := &Stream{trial: trial, first: load.First, flows: uint32(max(load.Flows, 1)), dst: dst,
		spread: uint32(load.Spread), proto: frame.ProtoUDP, header: udpHeader, plan: load.plan()}
	if load.SYN {
		s.proto, s.header = frame.ProtoTCP, tcpHeader
	}
	for i := range slots {
		size := load.Size
		if size == 0 {
			size = imix[i%len(imix)]
		}
		s.add(max(size-fcs, smallest+s.header-udpHeader), dstMAC, srcMAC)
	}
	return s
}

func (s *Stream) add(length int, dstMAC, srcMAC []byte) {
	buf := make([]byte, frame.Headroom+length)
	b := buf[frame.Headroom:]
	copy(b, dstMAC)
	copy(b[6:], srcMAC)
	binary.BigEndian.PutUint16(b[12:], frame.EtherIPv4)
	ip := b[ipOffset:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[8], ip[9] = 64, s.proto
	if s.spread < 2 {
		copy(ip[16:], s.dst.Addr().AsSlice())
	}
	segment := b[udpOffset:]
	binary.BigEndian.PutUint16(segment[2:], s.dst.Port())
	if s.proto == frame.ProtoTCP {
		segment[12], segment[13] = tcpHeader/4<<4, frame.FlagSYN
		binary.BigEndian.PutUint16(segment[14:], 64240)
	} else {
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
	}
	payload := segment[s.header:]
	binary.BigEndian.PutUint16(payload, magic)
	binary.BigEndian.PutUint32(payload[trialAt:], s.trial)
	for i := fillAt; i < len(payload); i++ {
		payload[i] = fill(payloadOffset + i)
	}
	var f frame.Frame
	f.Reset(buf, frame.Headroom, len(buf), length)
	s.frames = append(s.frames, f)
	s.bytes = append(s.bytes, b)
	s.fixedI = append(s.fixedI, frame.Sum(ip[:20], 0))
	s.fixedU = append(s.fixedU, frame.Sum(segment, frame.PseudoSum(ip[12:16], ip[16:20], s.proto, len(segment))))
}

// fill is the filler byte at an offset of a frame.
func fill(i int) byte { return byte(i*7 + 3) }

// Source returns the client of a flow. Addresses go round first, so that source
// hashes and address caches see many even with few flows.
func Source(flow uint32) (addr [4]byte, port uint16) {
	h := flow % ClientHosts
	return [4]byte{198, 18, 128 + byte(h>>8), byte(h)}, uint16(1024 + flow/ClientHosts)
}

// ClientHosts is how many client addresses there are.
const ClientHosts = 4096

// Take makes the next n frames, at most sendBatch, and returns them. They are
// contiguous slots. Their stamp is the time in microseconds at which they were
// to leave, or now where there is no plan.
func (s *Stream) Take(n int, now uint32) []frame.Frame {
	at := int(s.next % slots)
	n = min(n, slots-at, Batch)
	for i := at; i < at+n; i++ {
		stamp := now
		if s.plan != nil {
			stamp = uint32(s.plan.At(s.next).Microseconds())
		}
		s.make(i, s.first+uint32(s.next%uint64(s.flows)), uint32(s.next/uint64(s.flows)), stamp)
		s.next++
	}
	return s.frames[at : at+n]
}

// make writes what changes from frame to frame into a slot.
func (s *Stream) make(i int, flow, seq, stamp uint32) {
	b := s.bytes[i]
	a, ports := s.address(b, flow)
	payload := b[udpOffset+s.header:]
	binary.BigEndian.PutUint32(payload[flowAt:], flow)
	binary.BigEndian.PutUint32(payload[seqAt:], seq)
	binary.BigEndian.PutUint32(payload[stampAt:], stamp)
	sum := s.fixedU[i] + a + words(flow) + words(seq) + words(stamp) + ports
	binary.BigEndian.PutUint16(b[ipOffset+10:], ^frame.Fold(s.fixedI[i]+a))
	if s.proto == frame.ProtoTCP {
		binary.BigEndian.PutUint16(b[udpOffset+16:], ^frame.Fold(sum))
		return
	}
	binary.BigEndian.PutUint16(b[udpOffset+6:], checksum(sum))
}

// address writes the addresses and ports of a flow that differ from others', and
// returns their sums.
func (s *Stream) address(b []byte, flow uint32) (addrs, ports uint64) {
	if s.replies != nil {
		return s.replies[flow-s.first].write(b)
	}
	addr, port := Source(flow)
	copy(b[ipOffset+12:], addr[:])
	binary.BigEndian.PutUint16(b[udpOffset:], port)
	addrs = words(binary.BigEndian.Uint32(addr[:]))
	if s.spread > 1 {
		dst := binary.BigEndian.Uint32(s.dst.Addr().AsSlice()) + SpreadIndex(flow, s.spread)
		binary.BigEndian.PutUint32(b[ipOffset+16:], dst)
		addrs += words(dst)
	}
	return addrs, uint64(port)
}

// answer makes the stream one of replies. It must not have begun.
func (s *Stream) answer(replies []ends) {
	s.replies = replies
	if replies == nil {
		return
	}
	// What was the same in all frames is another in each now.
	for i, b := range s.bytes {
		clear(b[ipOffset+16 : ipOffset+20])
		clear(b[udpOffset+2 : udpOffset+4])
		s.fix(i)
	}
}

// fix sums up what does not change in a slot.
func (s *Stream) fix(i int) {
	ip, segment := s.bytes[i][ipOffset:], s.bytes[i][udpOffset:]
	clear(ip[10:12])
	clear(segment[6:8])
	s.fixedI[i] = frame.Sum(ip[:20], 0)
	s.fixedU[i] = frame.Sum(segment, frame.PseudoSum(ip[12:16], ip[16:20], s.proto, len(segment)))
}

// write writes both ends into a frame, and returns their sums.
func (e *ends) write(b []byte) (addrs, ports uint64) {
	copy(b[ipOffset+12:], e.src[:])
	copy(b[ipOffset+16:], e.dst[:])
	binary.BigEndian.PutUint16(b[udpOffset:], e.srcPort)
	binary.BigEndian.PutUint16(b[udpOffset+2:], e.dstPort)
	addrs = words(binary.BigEndian.Uint32(e.src[:])) + words(binary.BigEndian.Uint32(e.dst[:]))
	return addrs, uint64(e.srcPort) + uint64(e.dstPort)
}

// SpreadIndex is which of some destination addresses a flow goes to: as good as random,
// and always the same.
func SpreadIndex(flow, spread uint32) uint32 {
	h := uint64(flow+1) * 0x9e3779b97f4a7c15
	return uint32(h>>32) % spread
}

func words(v uint32) uint64 { return uint64(v>>16) + uint64(v&0xffff) }

// checksum is the UDP checksum of a sum: never 0, which says that there is none
// (RFC 768).
func checksum(sum uint64) uint16 {
	if c := ^frame.Fold(sum); c != 0 {
		return c
	}
	return 0xffff
}
