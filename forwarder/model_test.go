package forwarder

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uvs/forwarder/frame"
)

// The model is a second, plain implementation of what the director does with connections:
// no shards, no ticks, no bits. It has one service for TCP and one for UDP with rr, a few
// servers, and a list of connections. It follows IPVS, not the engine, and recorded
// sequences verify that.

// modelTCP are the next states by state: SYN, FIN, ACK and RST from the client,
// the same from the server, and from a client whose server was never heard.
var modelTCP = parseModelTCP(`
NONE         SYN_RECV CLOSE ESTABLISHED CLOSE                SYN_SENT TIME_WAIT ESTABLISHED CLOSE           SYN_RECV CLOSE ESTABLISHED CLOSE
ESTABLISHED  ESTABLISHED CLOSE_WAIT ESTABLISHED CLOSE        ESTABLISHED FIN_WAIT ESTABLISHED CLOSE         ESTABLISHED FIN_WAIT ESTABLISHED CLOSE
SYN_SENT     ESTABLISHED SYN_SENT SYN_SENT CLOSE             SYN_SENT SYN_SENT SYN_SENT SYN_SENT            ESTABLISHED SYN_SENT SYN_SENT CLOSE
SYN_RECV     SYN_RECV TIME_WAIT ESTABLISHED SYN_RECV         SYN_RECV TIME_WAIT ESTABLISHED CLOSE           SYN_RECV TIME_WAIT ESTABLISHED SYN_RECV
FIN_WAIT     SYN_RECV TIME_WAIT FIN_WAIT CLOSE               SYN_SENT FIN_WAIT FIN_WAIT CLOSE               SYN_RECV FIN_WAIT FIN_WAIT CLOSE
TIME_WAIT    SYN_RECV TIME_WAIT TIME_WAIT CLOSE              SYN_SENT TIME_WAIT TIME_WAIT TIME_WAIT         SYN_RECV TIME_WAIT TIME_WAIT CLOSE
CLOSE        SYN_RECV CLOSE CLOSE CLOSE                      SYN_SENT CLOSE CLOSE CLOSE                     SYN_RECV CLOSE CLOSE CLOSE
CLOSE_WAIT   SYN_RECV CLOSE_WAIT CLOSE_WAIT CLOSE            SYN_SENT TIME_WAIT CLOSE_WAIT CLOSE            SYN_RECV CLOSE_WAIT CLOSE_WAIT CLOSE
LAST_ACK     SYN_RECV LAST_ACK CLOSE LAST_ACK                SYN_SENT LAST_ACK LAST_ACK CLOSE               SYN_RECV LAST_ACK CLOSE LAST_ACK
SYNACK       SYN_RECV TIME_WAIT ESTABLISHED SYN_RECV         SYN_RECV TIME_WAIT ESTABLISHED CLOSE           SYN_RECV TIME_WAIT ESTABLISHED CLOSE
`)

func parseModelTCP(text string) map[string][]string {
	m := map[string][]string{}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		w := strings.Fields(line)
		m[w[0]] = w[1:]
	}
	return m
}

// modelSecure are the entries that secure_tcp changes, by state and column.
var modelSecure = map[string]string{
	"SYN_RECV 2": "SYN_RECV", "SYNACK 0": "SYNACK", "SYNACK 1": "SYNACK", "SYNACK 2": "SYNACK", "SYNACK 3": "CLOSE",
	"SYN_RECV 4": "SYNACK", "SYNACK 4": "SYNACK",
	"NONE 8": "SYNACK", "FIN_WAIT 8": "SYNACK", "TIME_WAIT 8": "SYNACK", "CLOSE 8": "SYNACK", "CLOSE_WAIT 8": "SYNACK",
	"LAST_ACK 8": "SYNACK", "SYNACK 8": "SYNACK",
}

var modelTimeouts = map[string]int{"NONE": 2, "ESTABLISHED": 900, "SYN_SENT": 120, "SYN_RECV": 60, "FIN_WAIT": 120,
	"TIME_WAIT": 120, "CLOSE": 10, "CLOSE_WAIT": 60, "LAST_ACK": 30, "SYNACK": 120, "UDP": 300}

// modelServer is a real server of one service; one that was removed is
// remembered.
type modelServer struct {
	addr         netip.AddrPort
	method       byte // m g i f
	weight       int
	upper, lower int
	overloaded   bool
	there        bool
}

// modelService is a virtual service with its servers, the youngest first.
type modelService struct {
	proto   uint8
	addr    netip.AddrPort
	persist int // seconds, 0: not
	bits    int // of the client's address that count
	once    bool
	servers []*modelServer
	gone    []*modelServer
	last    int // index of the server picked last, -1: none
}

// modelConn is a connection or, with template, a persistence template.
type modelConn struct {
	svc             *modelService
	client, virtual netip.AddrPort
	server          *modelServer
	method          byte
	template        bool
	invalid         bool
	state           string
	answered        bool // the server was heard
	began           time.Duration
	timeout         time.Duration
	control         *modelConn
	controls        int
}

// model is the director.
type model struct {
	now      time.Duration
	tcp, udp *modelService
	conns    []*modelConn
	set      map[string]int // sysctl
	timeouts map[string]int
}

func newModel() *model {
	m := &model{set: map[string]int{"conn_reuse_mode": 1}, timeouts: map[string]int{}}
	for k, v := range modelTimeouts {
		m.timeouts[k] = v
	}
	return m
}

// pass lets time go by and ends connections in the order of their deadlines.
func (m *model) pass(d time.Duration) {
	m.now += d
	for {
		var next *modelConn
		for _, c := range m.conns {
			if next == nil || c.end() < next.end() {
				next = c
			}
		}
		if next == nil || next.end() > m.now {
			return
		}
		if next.controls > 0 {
			next.began, next.timeout = next.end(), time.Minute
			continue
		}
		m.remove(next)
	}
}

func (c *modelConn) end() time.Duration { return c.began + c.timeout }

func (m *model) remove(c *modelConn) {
	m.conns = slices.DeleteFunc(m.conns, func(x *modelConn) bool { return x == c })
	if c.control != nil {
		c.control.controls--
	}
	m.weigh(c.server)
}

// add binds a connection to its server.
func (m *model) add(c *modelConn) {
	m.conns = append(m.conns, c)
	m.weigh(c.server)
}

// weigh marks a server as overloaded when its connections reach the upper threshold, and
// clears the mark when enough of them have ended.
func (m *model) weigh(s *modelServer) {
	n := m.load(s)
	if s.upper != 0 && n >= s.upper {
		s.overloaded = true
		return
	}
	if s.upper == 0 || s.lower != 0 && n < s.lower || s.lower == 0 && 4*n < 3*s.upper {
		s.overloaded = false
	}
}

func (m *model) load(s *modelServer) int {
	active, inactive, _ := m.counts(s)
	return active + inactive
}

func (m *model) counts(s *modelServer) (active, inactive, templates int) {
	for _, c := range m.conns {
		switch {
		case c.server != s:
		case c.template:
			templates++
		case c.active():
			active++
		default:
			inactive++
		}
	}
	return
}

func (c *modelConn) active() bool {
	return slices.Contains([]string{"ESTABLISHED", "SYN_SENT", "SYN_RECV", "SYNACK"}, c.state)
}

// request handles a packet from a client and returns the outcome.
func (m *model) request(svc *modelService, client netip.AddrPort, flags uint8) string {
	c := m.find(svc, client)
	if c != nil && m.replaced(c, flags) {
		m.remove(c)
		c = nil
	}
	if c == nil && svc.proto == frame.ProtoTCP && (flags&frame.FlagRST != 0 || flags&frame.FlagSYN == 0 && m.set["sloppy_tcp"] == 0) {
		if flags&frame.FlagRST != 0 {
			return "nothing"
		}
		return "reset"
	}
	if c == nil {
		if c = m.open(svc, client); c == nil {
			return "port unreachable"
		}
	}
	if !c.server.there || svc.once && c.method == 'f' { // FULLNAT could not answer
		return "nothing"
	}
	m.advance(c, flags, true)
	return fmt.Sprintf("%c to %s", c.method, c.server.addr)
}

func (m *model) find(svc *modelService, client netip.AddrPort) *modelConn {
	for _, c := range m.conns {
		if !c.template && c.svc == svc && c.client == client {
			return c
		}
	}
	return nil
}

// replaced reports whether a packet ends its connection: a SYN after that has closed, or
// any packet if the server was removed and expire_nodest_conn is set.
func (m *model) replaced(c *modelConn, flags uint8) bool {
	nodest, mode := m.set["expire_nodest_conn"] != 0, m.set["conn_reuse_mode"]
	if c.svc.proto == frame.ProtoTCP && flags&frame.FlagSYN != 0 {
		over := c.state == "TIME_WAIT" || c.state == "CLOSE" || mode&2 != 0 && c.state == "FIN_WAIT" && !c.answered && c.method != 'm' && c.method != 'f'
		if nodest && c.server.weight == 0 || mode != 0 && c.control == nil && over {
			return true
		}
	}
	return nodest && !c.server.there
}

// open begins a connection, by the client's template or by rr.
func (m *model) open(svc *modelService, client netip.AddrPort) *modelConn {
	c := &modelConn{svc: svc, client: client, virtual: svc.addr, began: m.now, timeout: 3 * time.Second, state: "NONE"}
	if svc.proto == frame.ProtoUDP {
		c.state = "UDP"
	}
	if svc.persist != 0 {
		if c.control = m.template(svc, client); c.control == nil {
			return nil
		}
		c.control.controls++
		c.control.began = m.now
		c.server = c.control.server
	} else if c.server = m.pick(svc); c.server == nil {
		return nil
	}
	c.method = c.server.method
	if !svc.once {
		m.add(c)
	}
	return c
}

// template finds or makes the template of a client's network.
func (m *model) template(svc *modelService, client netip.AddrPort) *modelConn {
	network, _ := client.Addr().Prefix(svc.bits)
	key := netip.AddrPortFrom(network.Addr(), 0)
	for _, c := range m.conns {
		if !c.template || c.invalid || c.svc != svc || c.client != key {
			continue
		}
		if c.server.there && (m.set["expire_quiescent_template"] == 0 || c.server.weight != 0) {
			return c
		}
		c.invalid = true
	}
	s := m.pick(svc)
	if s == nil {
		return nil
	}
	c := &modelConn{svc: svc, client: key, virtual: svc.addr, server: s, method: s.method, template: true,
		state: "NONE", began: m.now, timeout: time.Duration(svc.persist) * time.Second}
	m.add(c)
	return c
}

// pick implements rr: the next server that has a weight and is not overloaded.
func (m *model) pick(svc *modelService) *modelServer {
	n := len(svc.servers)
	for k := 1; k <= n; k++ {
		i := (svc.last + k) % n
		if s := svc.servers[i]; s.weight > 0 && !s.overloaded {
			svc.last = i
			return s
		}
	}
	return nil
}

// reply handles a packet from a server to a client.
func (m *model) reply(proto uint8, server, client netip.AddrPort, flags uint8) string {
	for _, c := range m.conns {
		if c.template || c.svc.proto != proto || c.client != client || c.server.addr != server || c.method != 'm' && c.method != 'f' {
			continue
		}
		m.advance(c, flags, false)
		if c.control != nil && proto == frame.ProtoUDP {
			c.control.state = "ASSURED"
		}
		return "from " + c.virtual.String()
	}
	if m.set["nat_icmp_send"] != 0 && !(proto == frame.ProtoTCP && flags&frame.FlagRST != 0) && m.masquerades(proto, server) {
		return "port unreachable"
	}
	return "routed"
}

func (m *model) masquerades(proto uint8, server netip.AddrPort) bool {
	svc := m.service(proto)
	return svc != nil && slices.ContainsFunc(svc.servers, func(s *modelServer) bool { return s.addr == server && s.method == 'm' })
}

func (m *model) service(proto uint8) *modelService {
	if proto == frame.ProtoTCP {
		return m.tcp
	}
	return m.udp
}

// advance changes a connection's state and restarts its timeout.
func (m *model) advance(c *modelConn, flags uint8, request bool) {
	if c.svc.proto == frame.ProtoTCP {
		before := c.state
		c.state = m.next(c, flags, request)
		if c.control != nil && before != c.state && c.state == "ESTABLISHED" {
			c.control.state = "ASSURED"
		}
	}
	c.began, c.timeout = m.now, time.Duration(m.timeouts[c.state])*time.Second
}

func (m *model) next(c *modelConn, flags uint8, request bool) string {
	column := 0
	switch {
	case !request:
		column, c.answered = 4, true
	case !c.answered && c.method != 'm' && c.method != 'f':
		column = 8
	}
	switch {
	case flags&frame.FlagRST != 0:
		column += 3
	case flags&frame.FlagSYN != 0:
	case flags&frame.FlagFIN != 0:
		column++
	case flags&frame.FlagACK != 0:
		column += 2
	default:
		return "CLOSE"
	}
	if s, ok := modelSecure[fmt.Sprint(c.state, " ", column)]; ok && m.set["secure_tcp"] == 3 {
		return s
	}
	return modelTCP[c.state][column]
}

// listing returns the connections as ipvsadm -Lcn prints them.
func (m *model) listing() (lines []string) {
	for _, c := range m.conns {
		proto, virtual, real := "TCP", c.virtual, c.server.addr
		if c.svc.proto == frame.ProtoUDP {
			proto = "UDP"
		}
		if c.invalid {
			virtual, real = netip.AddrPortFrom(virtual.Addr(), 65535), netip.AddrPortFrom(real.Addr(), 65535)
		}
		left := max(0, int((c.end()-m.now-time.Millisecond)/time.Second))
		lines = append(lines, fmt.Sprintf("%s %02d:%02d %s %s %s %s", proto, left/60, left%60, c.state, c.client, virtual, real))
	}
	return lines
}
