package recording

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Trace is a recording of a scheduler. Setup and the events are the question:
//
//	["ipvs", words]                             a command of ipvsadm
//	["syn", key, client, port, virtual, port]   a connection begins
//	["udp", client, port, virtual, port]        a datagram
//	["est", key], ["fin", key], ["rst", key]    the connection is established, the client ends or resets it
//	["wait"]                                    until connections that were reset are gone
//
// Results has for each event the server that a syn or udp went to, null if it
// went to none. Final is the listing at the end, without its heading.
type Trace struct {
	Name    string   `json:"name"`
	Sched   string   `json:"sched"`
	Note    string   `json:"note"`
	Setup   []string `json:"setup"`
	Events  [][]any  `json:"events"`
	Results []any    `json:"results"`
	Final   string   `json:"final"`
}

// connection is a connection of a trace, and its server.
type connection struct {
	client, virtual, server netip.AddrPort
}

// resetTime is how long a connection stays after a reset: ten seconds in state CLOSE, and
// what the kernel's timer may add.
const resetTime = 12 * time.Second

func (t *Trace) ask(ident *uint16) error { return inTestbed(ident, t.play) }

func (t *Trace) play(b *testbed) error {
	if strings.Contains(strings.Join(t.Setup, " "), " -f ") {
		if err := b.markUDP(); err != nil {
			return err
		}
	}
	for _, words := range t.Setup {
		b.ipvsadm(words)
	}
	t.Results = nil
	connections := map[any]*connection{}
	for _, event := range t.Events {
		result, err := b.event(event, connections)
		if err != nil {
			return fmt.Errorf("event %v: %w", event, err)
		}
		t.Results = append(t.Results, result)
	}
	_, t.Final, _ = strings.Cut(b.ipvsadm("-Ln"), "InActConn\n")
	return nil
}

// event plays one event and returns its result, nil for null.
func (b *testbed) event(event []any, connections map[any]*connection) (any, error) {
	if len(event) == 0 {
		return nil, errForm
	}
	switch event[0] {
	case "ipvs":
		words, ok := event[len(event)-1].(string)
		if !ok || len(event) != 2 {
			return nil, errForm
		}
		b.ipvsadm(words)
		return nil, nil
	case "wait":
		time.Sleep(resetTime)
		return nil, nil
	case "udp":
		c, err := between(event[1:])
		if err != nil {
			return nil, err
		}
		s, err := b.fromClient(packet{proto: "u", src: c.client, dst: c.virtual, data: "hello"})
		return picked(s), err
	case "syn":
		c, err := between(event[min(2, len(event)):])
		if err != nil {
			return nil, err
		}
		connections[event[1]] = c
		return b.begin(c)
	case "est", "fin", "rst":
		c := connections[event[len(event)-1]]
		if c == nil {
			return nil, errForm
		}
		if !c.server.IsValid() {
			return nil, nil // it went to no server
		}
		return nil, b.later(event[0].(string), c)
	}
	return nil, errForm
}

// errForm is the error for an event that is not of a known form.
var errForm = errors.New("recording: no such event, or without what it needs")

// between reads the addresses of a connection: client, port, virtual, port.
func between(words []any) (*connection, error) {
	if len(words) != 4 {
		return nil, errForm
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		host, _ := words[2*i].(string)
		port, _ := words[2*i+1].(float64)
		addr, err := netip.ParseAddr(host)
		if err != nil || port < 1 || port > 65535 {
			return nil, errForm
		}
		ends[i] = netip.AddrPortFrom(addr, uint16(port))
	}
	return &connection{client: ends[0], virtual: ends[1]}, nil
}

// begin sends a connection's first segment and returns the server picked for it.
func (b *testbed) begin(c *connection) (any, error) {
	s, err := b.fromClient(packet{src: c.client, dst: c.virtual, flags: "S", seq: 1000})
	server := picked(s)
	if server != nil {
		c.server = netip.MustParseAddrPort(server.(string))
	}
	return server, err
}

// later plays an event of a connection after its first packet.
func (b *testbed) later(what string, c *connection) error {
	p := packet{src: c.client, dst: c.virtual, seq: 1001}
	switch what {
	case "est":
		if _, err := b.fromServer(packet{src: c.server, dst: c.client, flags: "SA", seq: 5000, ack: 1001}); err != nil {
			return err
		}
		p.flags, p.ack = "A", 5001
	case "fin":
		p.flags, p.ack = "FA", 5001
	case "rst":
		p.flags = "R"
	}
	_, err := b.fromClient(p)
	return err
}

// picked returns the server to which the director sent the packet, nil for none.
func picked(s sent) any {
	if len(s.toServers) == 0 {
		return nil
	}
	return destination(s.toServers[0])
}
