package forwarder

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"uvs/forwarder/frame"
)

// plot is a random sequence: a world and what happens in it.
type plot struct {
	Six     bool
	Persist int  // seconds, 0: not
	Bits    int  // of the client's IPv4 address that count for persistence
	Once    bool // UDP one packet
	Servers []plotServer
	Short   bool // --set 5 4 3
	Events  []event
}

type plotServer struct {
	Method              string // m g i f
	Weight, Upper, Down int
}

// event is one packet, pause or command.
type event struct {
	Kind           string // client server wait toggle edit sysctl persist
	UDP            bool
	Client, Server int
	Flags          uint8
	Wait           int // seconds; a little is added, so that nothing happens on a second's edge
	Name           string
	Value          int
	New            plotServer
}

var plotSysctls = []string{"conn_reuse_mode", "expire_nodest_conn", "expire_quiescent_template", "sloppy_tcp", "secure_tcp", "nat_icmp_send"}

// drawPlot draws a plot with servers of the given methods and pauses.
func drawPlot(methods []string, waits []int, least, most int) *rapid.Generator[plot] {
	return rapid.Custom(func(t *rapid.T) plot {
		c := plot{
			Six:     rapid.Bool().Draw(t, "six"),
			Persist: rapid.SampledFrom([]int{0, 0, 0, 61, 7}).Draw(t, "persist"),
			Bits:    rapid.SampledFrom([]int{32, 32, 24}).Draw(t, "bits"),
			Short:   rapid.Bool().Draw(t, "short"),
			Servers: rapid.SliceOfN(drawServer(methods), 3, 3).Draw(t, "servers"),
			Events:  rapid.SliceOfN(drawEvent(methods, waits), least, most).Draw(t, "events"),
		}
		c.Once = c.Persist == 0 && rapid.IntRange(0, 4).Draw(t, "once") == 0
		return c.paced()
	})
}

// paced leaves out pauses beyond the ninth: their odd parts add up to seconds.
func (c plot) paced() plot {
	n := 0
	c.Events = slices.DeleteFunc(c.Events, func(e event) bool {
		if e.Kind == "wait" {
			n++
		}
		return e.Kind == "wait" && n > 9
	})
	return c
}

func drawServer(methods []string) *rapid.Generator[plotServer] {
	return rapid.Custom(func(t *rapid.T) plotServer {
		s := plotServer{Method: rapid.SampledFrom(methods).Draw(t, "method"), Weight: rapid.SampledFrom([]int{1, 1, 1, 2, 0}).Draw(t, "weight")}
		if rapid.IntRange(0, 5).Draw(t, "bounded") == 0 {
			s.Upper = rapid.IntRange(1, 3).Draw(t, "upper")
			s.Down = rapid.IntRange(0, s.Upper).Draw(t, "lower")
		}
		return s
	})
}

func drawEvent(methods []string, waits []int) *rapid.Generator[event] {
	return rapid.Custom(func(t *rapid.T) event {
		kinds := []string{"client", "client", "client", "client", "client", "server", "server", "server", "wait", "toggle", "edit", "sysctl", "persist"}
		e := event{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
		switch e.Kind {
		case "client", "server":
			e.UDP = rapid.IntRange(0, 3).Draw(t, "udp") == 0
			e.Client = rapid.IntRange(0, 3).Draw(t, "client")
			e.Server = rapid.IntRange(0, 2).Draw(t, "server")
			e.Flags = rapid.SampledFrom([]uint8{2, 2, 2, 16, 16, 24, 17, 17, 4, 20, 18, 18, 1, 3, 0, 32}).Draw(t, "flags")
		case "wait":
			e.Wait = rapid.SampledFrom(waits).Draw(t, "seconds")
		case "toggle", "edit":
			e.UDP = rapid.Bool().Draw(t, "udp")
			e.Server = rapid.IntRange(0, 2).Draw(t, "server")
			e.New = drawServer(methods).Draw(t, "as")
		case "sysctl":
			e.Name = rapid.SampledFrom(plotSysctls).Draw(t, "name")
			e.Value = rapid.IntRange(0, 3).Draw(t, "value")
		case "persist":
			e.Value = rapid.SampledFrom([]int{0, 61, 7}).Draw(t, "persist")
		}
		return e
	})
}

// stage is where a plot is played.
type stage interface {
	do(line string)
	wait(d time.Duration)
	// send puts a packet on a link, for which the model expects want.
	send(link int, p []byte, want string)
	// local returns the local address that stands for the client towards a
	// FULLNAT server.
	local(proto uint8, client netip.AddrPort) (netip.AddrPort, bool)
	// look compares what there is with the model.
	look(m *model)
}

// player plays a plot with the model beside it.
type player struct {
	*plot
	*model
	stage
	wire    *testbed // makes the packets
	clients []netip.AddrPort
	reals   map[uint8][]netip.AddrPort
}

// begin makes the world around the virtual addresses v4 and v6 and the client
// ports from port on.
func (c *plot) begin(s stage, wire *testbed, v4, v6 string, port int) *player {
	p := &player{plot: c, model: newModel(), stage: s, wire: wire, reals: map[uint8][]netip.AddrPort{}}
	vip, clients, real := netip.MustParseAddr(v4), []string{"172.16.0.9", "172.16.0.77"}, "10.1.0.%d"
	if c.Six {
		vip, clients, real = netip.MustParseAddr(v6), []string{"fd00:c::9", "fd00:c::1:9"}, "fd00:1::%x"
	}
	for i := range 4 {
		p.clients = append(p.clients, netip.AddrPortFrom(netip.MustParseAddr(clients[i%2]), uint16(port+i/2)))
	}
	for i := range c.Servers {
		a := netip.MustParseAddr(fmt.Sprintf(real, i+1))
		p.reals[frame.ProtoTCP] = append(p.reals[frame.ProtoTCP], netip.AddrPortFrom(a, 80))
		p.reals[frame.ProtoUDP] = append(p.reals[frame.ProtoUDP], netip.AddrPortFrom(a, 5000))
	}
	bits := c.Bits
	if c.Six {
		bits = map[int]int{32: 128, 24: 96}[bits]
	}
	p.tcp = &modelService{proto: frame.ProtoTCP, addr: netip.AddrPortFrom(vip, 80), persist: c.Persist, bits: bits, last: -1}
	p.udp = &modelService{proto: frame.ProtoUDP, addr: netip.AddrPortFrom(vip, 5000), persist: c.Persist, bits: bits, last: -1, once: c.Once}
	return p
}

// setup configures both services.
func (p *player) setup() {
	if p.Short {
		p.timeouts["ESTABLISHED"], p.timeouts["FIN_WAIT"], p.timeouts["UDP"] = 5, 4, 3
		p.do("ipvsadm --set 5 4 3")
	}
	for _, svc := range []*modelService{p.tcp, p.udp} {
		p.do(p.serviceLine("-A", svc))
		if slices.ContainsFunc(p.Servers, func(s plotServer) bool { return s.Method == "f" }) {
			local := "10.1.200.1"
			if p.Six {
				local = "fd00:1::c8"
			}
			p.do("ipvsadm --add-laddr " + svc.words() + " --laddr " + local)
		}
		for i, s := range p.Servers {
			p.addLine("-a", svc, i, s)
		}
	}
}

func (s *modelService) words() string {
	if s.proto == frame.ProtoUDP {
		return "-u " + s.addr.String()
	}
	return "-t " + s.addr.String()
}

func (p *player) serviceLine(op string, svc *modelService) string {
	line := "ipvsadm " + op + " " + svc.words() + " -s rr"
	if svc.persist != 0 {
		line += fmt.Sprintf(" -p %d", svc.persist)
		switch {
		case p.Six && svc.bits != 128:
			line += fmt.Sprintf(" -M %d", svc.bits)
		case !p.Six && svc.bits != 32:
			line += " -M 255.255.255.0"
		}
	}
	if svc.once {
		line += " -o"
	}
	return line
}

// addLine adds or edits server i of a service.
func (p *player) addLine(op string, svc *modelService, i int, s plotServer) {
	addr := p.reals[svc.proto][i]
	method := map[string]string{"f": "--fullnat"}[s.Method]
	if method == "" {
		method = "-" + s.Method
	}
	line := fmt.Sprintf("ipvsadm %s %s -r %s %s -w %d", op, svc.words(), addr, method, s.Weight)
	if s.Upper != 0 {
		line += fmt.Sprintf(" -x %d -y %d", s.Upper, s.Down)
	}
	server := modelServer{addr: addr, method: s.Method[0], weight: s.Weight, upper: s.Upper, lower: s.Down}
	if op == "-a" {
		p.addServer(svc, server)
	} else {
		p.editServer(svc, server)
	}
	p.do(line)
}

// play does the events, each with a look at the outcome.
func (p *player) play() {
	p.setup()
	p.look(p.model)
	for _, e := range p.Events {
		p.event(e)
		p.look(p.model)
	}
}

func (p *player) event(e event) {
	svc := p.tcp
	if e.UDP {
		svc = p.udp
	}
	switch e.Kind {
	case "client":
		p.fromClient(svc, p.clients[e.Client], e.Flags)
	case "server":
		p.fromServer(svc.proto, p.reals[svc.proto][e.Server], p.clients[e.Client], e.Flags)
	case "wait":
		d := time.Duration(e.Wait)*time.Second + 310*time.Millisecond
		p.wait(d)
		p.pass(d)
	case "toggle":
		p.toggle(svc, e)
	case "edit":
		if addr := p.reals[svc.proto][e.Server]; svc.has(addr) {
			p.addLine("-e", svc, e.Server, e.New)
		}
	case "sysctl":
		p.sysctlEvent(e)
	case "persist":
		if !p.Once {
			svc.persist = e.Value
			p.do(p.serviceLine("-E", svc))
		}
	}
}

func (s *modelService) has(addr netip.AddrPort) bool {
	return slices.ContainsFunc(s.servers, func(x *modelServer) bool { return x.addr == addr })
}

func (p *player) toggle(svc *modelService, e event) {
	addr := p.reals[svc.proto][e.Server]
	if !svc.has(addr) {
		p.addLine("-a", svc, e.Server, e.New)
		return
	}
	p.deleteServer(svc, addr)
	p.do("ipvsadm -d " + svc.words() + " -r " + addr.String())
}

func (p *player) sysctlEvent(e event) {
	v := e.Value
	switch e.Name {
	case "conn_reuse_mode":
	case "secure_tcp":
		v = v % 2 * 3
	default:
		v %= 2
	}
	p.set[e.Name] = v
	p.do(fmt.Sprintf("sysctl %s=%d", e.Name, v))
}

func (p *player) fromClient(svc *modelService, client netip.AddrPort, flags uint8) {
	want := p.request(svc, client, flags)
	p.send(1, p.packet(1, svc.proto, client, svc.addr, flags), want)
}

func (p *player) fromServer(proto uint8, server, client netip.AddrPort, flags uint8) {
	to, svc := client, p.service(proto)
	c := p.find(svc, client)
	bound := c != nil && c.server.addr == server && c.method == 'f'
	if bound {
		local, ok := p.local(proto, client)
		if !ok {
			return
		}
		to = local
	} else if slices.ContainsFunc(append(svc.servers, svc.gone...), func(s *modelServer) bool { return s.addr == server && s.method == 'f' }) {
		return // it would not address the client
	}
	p.send(2, p.packet(2, proto, server, to, flags), p.reply(proto, server, client, flags))
}

func (p *player) packet(link int, proto uint8, src, dst netip.AddrPort, flags uint8) []byte {
	if proto == frame.ProtoUDP {
		return p.wire.udp(link, src.String(), dst.String(), "hello")
	}
	s := segment{src: src.String(), dst: dst.String(), flags: flags, seq: 1000 * uint32(link)}
	if flags&frame.FlagACK != 0 {
		s.ack = 5001
	}
	if strings.Contains("\x18", string(rune(flags))) {
		s.data = "data"
	}
	return p.wire.tcp(link, s)
}
