package load

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"uvs/forwarder/afpacket"
	"uvs/forwarder/frame"
)

// PicksCall describes a stream of which every frame opens a connection.
type PicksCall struct {
	Load
	Method  Method
	Link    string           // of client and server
	Middle  string           // the node in between, whose eth0 is addressed
	To      netip.AddrPort   // virtual service, or the first of its addresses
	Servers []netip.AddrPort // where frames may arrive
}

// Picks is where the connections went.
type Picks struct {
	Picks  []uint16 // by connection in the order they were opened: server from 1, 0 for none
	Faults []string
}

// Picks opens connections, one frame each, and notes where each arrives. All frames
// are checked.
func (t *Tester) Picks(c PicksCall, r *Picks) error {
	t.trials++
	src, err := linkOf(ClientNode, c.Link)
	if err != nil {
		return err
	}
	dst, err := linkOf(c.Middle, "eth0")
	if err != nil {
		return err
	}
	s := NewStream(c.Load, t.trials, c.To, dst.HardwareAddr, src.HardwareAddr)
	g, err := newGenerator(ClientNode, c.Link, c.Load, s)
	if err != nil {
		return err
	}
	g.limit = uint64(c.Flows)
	w, err := newRecorder(c.Link, s, &c)
	if err != nil {
		return errors.Join(err, g.port.Close())
	}
	g.start()
	<-g.spent
	err = w.awaitFrames(uint64(len(w.picks)))
	g.close()
	err = errors.Join(err, w.close())
	r.Picks, r.Faults = w.picks, w.faults
	return err
}

// recorder notes at which server every frame of a stream arrived.
type recorder struct {
	*counter
	port    *afpacket.Port
	expect  expect
	numbers map[netip.AddrPort]uint16
	picks   []uint16
	faults  []string
	done    chan struct{}
}

func newRecorder(link string, s *Stream, c *PicksCall) (*recorder, error) {
	ifi, err := linkOf(ServerNode, link)
	if err != nil {
		return nil, err
	}
	filter, err := sample(1)
	if err != nil {
		return nil, err
	}
	w := &recorder{
		numbers: map[netip.AddrPort]uint16{}, picks: make([]uint16, c.Flows), done: make(chan struct{}),
		expect: expect{method: c.Method, trial: s.trial, first: s.first, flows: s.flows, proto: s.proto,
			dstMAC: [6]byte(ifi.HardwareAddr), virtual: c.To, servers: c.Servers},
	}
	for i, a := range c.Servers {
		w.numbers[a] = uint16(i + 1)
	}
	err = inNode(ServerNode, func() (err error) {
		if w.counter, err = newCounter(link); err != nil {
			return err
		}
		w.port, err = afpacket.Open(afpacket.Config{Interface: ifi, Filter: filter, Slots: 8192})
		return err
	})
	if err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

func (w *recorder) run() {
	defer close(w.done)
	fs := make([]frame.Frame, Batch)
	for {
		n, err := w.port.Recv(fs)
		if err != nil {
			return // net.ErrClosed
		}
		for i := range fs[:n] {
			fs[i].CompleteChecksum()
			w.take(fs[i].Bytes())
		}
	}
}

func (w *recorder) take(b []byte) {
	flow, _, mine, fault := w.expect.check(b)
	if !mine {
		return
	}
	at := int(flow - w.expect.first)
	if fault == "" && w.picks[at] != 0 {
		fault = "frame arrived twice"
	}
	if fault != "" {
		if len(w.faults) < maxFaults {
			w.faults = append(w.faults, fault)
		}
		return
	}
	ip := b[ipOffset:]
	w.picks[at] = w.numbers[netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(ip[22:]))]
}

func (w *recorder) close() error {
	err := w.port.Close()
	<-w.done
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, w.counter.Close())
}
