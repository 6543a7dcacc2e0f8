package load

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"uvs/forwarder/frame"
)

// expect is what a frame of a stream must look like when it arrives.
type expect struct {
	method  Method
	trial   uint32
	first   uint32 // flow
	flows   uint32
	proto   uint8 // of the transport; 0 is UDP
	dstMAC  [6]byte
	reply   bool             // from a server to its client
	virtual netip.AddrPort   // where the generator sends to
	servers []netip.AddrPort // where a translated frame may arrive
}

// check returns the flow and sequence number of a frame of this trial and what
// is wrong with it, or "". mine is false for stragglers of the trial before.
func (e *expect) check(b []byte) (flow, seq uint32, mine bool, fault string) {
	if e.ofAnotherTrial(b) {
		return 0, 0, false, ""
	}
	if [6]byte(b[:6]) != e.dstMAC {
		return 0, 0, true, "destination MAC address is not the server's"
	}
	ip := b[frame.EthernetLen:]
	if e.method == Tunnel {
		if fault := checkIP(ip, protoIPIP); fault != "" {
			return 0, 0, true, "outer header: " + fault
		}
		ip = ip[20:]
	}
	if fault := checkIP(ip, e.transport()); fault != "" {
		return 0, 0, true, fault
	}
	segment := ip[20:binary.BigEndian.Uint16(ip[2:])]
	header := udpHeader
	if e.transport() == frame.ProtoTCP && len(segment) >= tcpHeader {
		header = int(segment[12]>>4) * 4 // with what FULLNAT tells the server in options
	}
	if len(segment) < header+fillAt || binary.BigEndian.Uint16(segment[header:]) != magic {
		return 0, 0, true, "payload is not the generator's"
	}
	payload := segment[header:]
	flow = binary.BigEndian.Uint32(payload[flowAt:])
	seq = binary.BigEndian.Uint32(payload[seqAt:])
	return flow, seq, true, e.checkSegment(ip, segment, payload, flow)
}

func (e *expect) transport() uint8 {
	if e.proto == 0 {
		return frame.ProtoUDP
	}
	return e.proto
}

// stamp returns the stamp of a frame that check has found right.
func (e *expect) stamp(b []byte) int64 {
	at := payloadOf(b) + stampAt
	if len(b) < at+4 {
		return 0
	}
	return int64(binary.BigEndian.Uint32(b[at:]))
}

// payloadOf is where the payload of a frame begins, plain or in a tunnel.
func payloadOf(b []byte) int {
	ip := ipOffset
	if b[ip+9] == protoIPIP {
		ip += 20
	}
	if len(b) > ip+32 && b[ip+9] == frame.ProtoTCP {
		return ip + 20 + int(b[ip+32]>>4)*4
	}
	return ip + 20 + udpHeader
}

const protoIPIP = 4

// ofAnotherTrial reports whether the frame, plain or in a tunnel, is one of another
// trial.
func (e *expect) ofAnotherTrial(b []byte) bool {
	at := payloadOf(b)
	if len(b) < at+6 {
		return false
	}
	return binary.BigEndian.Uint16(b[at:]) == magic && binary.BigEndian.Uint32(b[at+2:]) != e.trial
}

// checkIP judges an IPv4 header without options.
func checkIP(ip []byte, proto uint8) string {
	switch {
	case len(ip) < 28 || ip[0] != 0x45 || ip[9] != proto:
		return fmt.Sprintf("not the IP packet that was sent: % x", ip[:min(len(ip), 28)])
	case int(binary.BigEndian.Uint16(ip[2:])) > len(ip) || binary.BigEndian.Uint16(ip[2:]) < 28:
		return "IP length is wrong"
	case frame.Checksum(ip[:20]) != 0:
		return "IP header checksum is wrong"
	}
	return ""
}

func (e *expect) checkSegment(ip, segment, payload []byte, flow uint32) string {
	sum := frame.PseudoSum(ip[12:16], ip[16:20], e.transport(), len(segment))
	if frame.Fold(frame.Sum(segment, sum)) != 0xffff {
		return "UDP or TCP checksum is wrong"
	}
	for i := fillAt; i < len(payload); i++ {
		if payload[i] != fill(i+payloadOffset) {
			return fmt.Sprintf("payload byte %d is wrong", i)
		}
	}
	if flow-e.first >= e.flows {
		return "flow was not sent"
	}
	if e.reply {
		return e.checkReply(ip, segment, flow)
	}
	addr, port := Source(flow)
	if e.method != FullNAT && ([4]byte(ip[12:16]) != addr || binary.BigEndian.Uint16(segment) != port) {
		return "source is not the client of the flow"
	}
	dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(segment[2:]))
	if !e.arrives(dst) {
		return fmt.Sprintf("destination %v is not one of the servers", dst)
	}
	return ""
}

// arrives reports whether a destination is one that the method leads to.
func (e *expect) arrives(dst netip.AddrPort) bool {
	switch e.method {
	case NAT, FullNAT:
		for _, s := range e.servers {
			if s == dst {
				return true
			}
		}
		return false
	}
	return dst == e.virtual
}
