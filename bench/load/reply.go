package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// ends are the addresses and ports of a reply as the server sends it.
type ends struct {
	src, dst         [4]byte
	srcPort, dstPort uint16
}

// LearnRate is slow enough for every forwarder to lose nothing.
const LearnRate = 100_000

// learn sends each flow's first frame to the servers, and returns by flow how
// each will answer: to whom the frame seems to be from, which for FULLNAT only
// the director knows. It is tried three times; a flow that never comes through
// is an error.
func (t *Tester) learn(c *UDPCall) ([]ends, error) {
	all := make([]ends, max(c.Flows, 1))
	missing := len(all)
	for range 3 {
		if err := t.learnOnce(c, all); err != nil {
			return nil, err
		}
		missing = 0
		for _, e := range all {
			if e.dstPort == 0 {
				missing++
			}
		}
		if missing == 0 {
			return all, nil
		}
	}
	return nil, fmt.Errorf("bench: %d of %d flows did not come to a server, so there is nothing to answer", missing, len(all))
}

func (t *Tester) learnOnce(c *UDPCall, all []ends) error {
	t.trials++
	load := Load{Size: 64, Flows: len(all), Rate: LearnRate}
	w := path{from: ClientNode, to: ServerNode, middleLink: "eth0"}
	g, err := t.generator(c, load, w, nil)
	if err != nil {
		return err
	}
	g.limit = uint64(load.Flows)
	s, err := newSink(ServerNode, c.Link, 1, t.expect(c, g.stream))
	if err != nil {
		return errors.Join(err, g.port.Close())
	}
	s.learned = all
	g.start()
	<-g.spent
	err = s.awaitFrames(g.limit)
	g.close()
	var trial Trial
	return errors.Join(err, s.close(&trial))
}

// awaitFrames waits until so many frames have arrived, or a second has brought none. A
// forwarder that is not let run may sit on them for long.
func (c *counter) awaitFrames(all uint64) error {
	const step, still = 20 * time.Millisecond, 50
	last, err := c.Packets()
	for same := 0; err == nil && same < still && last < all; same++ {
		time.Sleep(step)
		var now uint64
		if now, err = c.Packets(); now != last {
			last, same = now, 0
		}
	}
	time.Sleep(step) // for the socket's reader
	return err
}

// learn notes how a server answers a frame that arrived.
func (s *sink) learn(flow uint32, b []byte) {
	if s.learned == nil || int(flow) >= len(s.learned) {
		return
	}
	ip, segment := b[ipOffset:], b[udpOffset:]
	s.learned[flow] = ends{
		src: [4]byte(ip[16:20]), srcPort: binary.BigEndian.Uint16(segment[2:]),
		dst: [4]byte(ip[12:16]), dstPort: binary.BigEndian.Uint16(segment),
	}
}

// checkReply judges the addresses of a reply at its client.
func (e *expect) checkReply(ip, segment []byte, flow uint32) string {
	addr, port := Source(flow)
	if [4]byte(ip[16:20]) != addr || binary.BigEndian.Uint16(segment[2:]) != port {
		return "destination is not the client of the flow"
	}
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(segment))
	if src != e.virtual {
		return fmt.Sprintf("reply is from %v, not from the virtual service", src)
	}
	return ""
}

// path is a direction through the lab.
type path struct {
	from, to   string // nodes
	middleLink string // that frames are addressed to
}

// path is where the frames of a load go.
func (l Load) path() path {
	if l.Reply {
		return path{from: ServerNode, to: ClientNode, middleLink: "eth1"}
	}
	return path{from: ClientNode, to: ServerNode, middleLink: "eth0"}
}

// generator opens a generator of a load; its replies are nil for requests.
func (t *Tester) generator(c *UDPCall, load Load, w path, replies []ends) (*generator, error) {
	src, err := linkOf(w.from, c.Link)
	if err != nil {
		return nil, err
	}
	dst, err := linkOf(c.Middle, w.middleLink)
	if err != nil {
		return nil, err
	}
	s := NewStream(load, t.trials, c.To, dst.HardwareAddr, src.HardwareAddr)
	s.answer(replies)
	return newGenerator(w.from, c.Link, load, s)
}

// expect is what a stream must look like when it arrives.
func (t *Tester) expect(c *UDPCall, s *Stream) expect {
	return expect{method: c.Method, trial: t.trials, first: s.first, flows: s.flows, proto: s.proto,
		virtual: c.To, servers: c.Servers, reply: s.replies != nil}
}
