package recording

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Life is a recording of one connection through a service with one real server. The question
// is Mode, Proto, Sysctl, Timeouts and the steps of its rows:
//
//	c:S, s:SA, c:PAd   a TCP segment of the client or the server with these flags; d: and ten bytes
//	c, s               a UDP datagram of the client or the server
//	sleep2             two seconds
//	ipvs WORDS         a command of ipvsadm; @V is the service, @R the real server
type Life struct {
	Name     string         `json:"name"`
	Mode     string         `json:"mode"`  // NAT, DR or TUN
	Proto    string         `json:"proto"` // t or u, as of ipvsadm
	Sysctl   map[string]int `json:"sysctl"`
	Timeouts string         `json:"timeouts,omitempty"` // of ipvsadm --set
	Rows     []Row          `json:"rows"`
}

// Row is one step of a Life and its result.
type Row struct {
	Step   string  `json:"step"`
	Out    *string `json:"out"`              // the frame that was sent, with REPLY before one that went back; null for none
	State  string  `json:"state,omitempty"`  // of the entry, empty if there is none
	Expire Expiry  `json:"expire,omitempty"` // the time until the entry expires
	Active *int    `json:"active,omitempty"` // the real server's connections
	Inact  *int    `json:"inact,omitempty"`
}

// Expiry is a time as ipvsadm -Lcn lists it, minutes:seconds.
type Expiry string

// The addresses of every recorded connection.
var (
	lifeClient  = netip.MustParseAddrPort("172.16.0.9:20001")
	lifeVirtual = netip.MustParseAddrPort("10.2.0.1:80")
	lifeServer  = netip.MustParseAddr("10.1.0.5")
)

// player plays a Life.
type player struct {
	*testbed
	proto        string
	server       netip.AddrPort
	fromC, fromS uint32 // the next sequence numbers
}

func (l *Life) ask(ident *uint16) error { return inTestbed(ident, l.play) }

func (l *Life) play(b *testbed) error {
	option, port := map[string]string{"NAT": "-m", "DR": "-g", "TUN": "-i"}[l.Mode], lifeVirtual.Port()
	if option == "" || l.Proto != "t" && l.Proto != "u" {
		return fmt.Errorf("recording: mode %q, proto %q: NAT, DR or TUN and t or u are known", l.Mode, l.Proto)
	}
	if l.Mode == "NAT" {
		port = 8080
	}
	t := &player{testbed: b, proto: l.Proto, server: netip.AddrPortFrom(lifeServer, port), fromC: 1000, fromS: 5000}
	for name, value := range l.Sysctl {
		if err := b.sysctl(name, value); err != nil {
			return err
		}
	}
	if l.Timeouts != "" {
		b.ipvsadm("--set " + l.Timeouts)
	}
	b.ipvsadm(fmt.Sprintf("-A -%s %s -s rr", l.Proto, lifeVirtual))
	b.ipvsadm(fmt.Sprintf("-a -%s %s -r %s %s", l.Proto, lifeVirtual, t.server, option))
	for i, row := range l.Rows {
		out, err := t.step(row.Step)
		if err != nil {
			return fmt.Errorf("step %s: %w", row.Step, err)
		}
		l.Rows[i] = t.observe(Row{Step: row.Step, Out: out})
	}
	return nil
}

// step plays one step and returns the frame that was sent.
func (t *player) step(step string) (*string, error) {
	nothing := ""
	if seconds, ok := strings.CutPrefix(step, "sleep"); ok {
		n, err := strconv.Atoi(seconds)
		time.Sleep(time.Duration(n) * time.Second)
		return &nothing, err
	}
	if words, ok := strings.CutPrefix(step, "ipvs "); ok {
		t.ipvsadm(strings.NewReplacer("@V", lifeVirtual.String(), "@R", t.server.String()).Replace(words))
		return &nothing, nil
	}
	from, flags, _ := strings.Cut(step, ":")
	switch from {
	case "c":
		s, err := t.fromClient(t.packet(lifeClient, lifeVirtual, flags, &t.fromC, t.fromS))
		return out(s.toServers, s.toClients), err
	case "s":
		s, err := t.fromServer(t.packet(t.server, lifeClient, flags, &t.fromS, t.fromC))
		return out(s.toClients, s.toServers), err
	}
	return nil, errors.New("recording: no such step")
}

// packet returns the next packet of a side that has sent up to *seq.
func (t *player) packet(src, dst netip.AddrPort, flags string, seq *uint32, ack uint32) packet {
	if t.proto == "u" {
		return packet{proto: "u", src: src, dst: dst, data: "hello"}
	}
	p := packet{src: src, dst: dst, seq: *seq}
	if strings.HasSuffix(flags, "d") {
		p.data = strings.Repeat("x", 10)
	}
	p.flags = strings.TrimSuffix(flags, "d")
	if strings.Contains(flags, "A") {
		p.ack = ack
	}
	*seq += uint32(len(p.data) + strings.Count(flags, "S") + strings.Count(flags, "F"))
	return p
}

// out describes the first frame that was sent on, or else the first that was sent back.
func out(on, back [][]byte) *string {
	var s string
	switch {
	case len(on) > 0:
		s = Describe(on[0])
	case len(back) > 0:
		s = "REPLY " + Describe(back[0])
	default:
		return nil
	}
	return &s
}

// pause is more than two ticks of the kernel's timers, so that a timeout that is listed after
// it is always less than the full one.
const pause = 10 * time.Millisecond

// observe completes a row with the entry and the server's counts as listed after a pause.
func (t *player) observe(row Row) Row {
	time.Sleep(pause)
	for line := range strings.Lines(t.ipvsadm("-Lcn")) {
		if f := strings.Fields(line); len(f) == 6 && f[3] == lifeClient.String() {
			row.State, row.Expire = f[2], Expiry(f[1])
		}
	}
	for line := range strings.Lines(t.ipvsadm("-Ln")) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "->" && f[1] == t.server.String() {
			active, _ := strconv.Atoi(f[4])
			inact, _ := strconv.Atoi(f[5])
			row.Active, row.Inact = &active, &inact
		}
	}
	return row
}

// sameTime tells whether two are the same but for fifteen seconds, which a busy
// machine may take between a packet and the listing. The timeouts of two states
// differ by more.
func sameTime(a, b Expiry) bool {
	if a == "" || b == "" {
		return a == b
	}
	d := seconds(a) - seconds(b)
	return -15 <= d && d <= 15
}

func seconds(e Expiry) int {
	var m, s int
	fmt.Sscanf(string(e), "%d:%d", &m, &s)
	return 60*m + s
}
