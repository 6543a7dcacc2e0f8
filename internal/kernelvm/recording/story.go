package recording

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"uvs/forwarder/porttest"
)

// Story is a recording of packets, byte by byte. The question is case, setup, a list of
// commands, and in each of frames, which are its steps:
//
//	do      a command, or a list of them
//	wait    seconds
//	inject  ">" for a packet from a client, "<" from a real server
//	pkt     it, in hexadecimal, from the IP header on; descr says what it is
//	at      when it is sent, look when the listings are made, in seconds since the beginning
//
// A command is one of these, or words of ipvsadm alone:
//
//	ipvsadm WORDS
//	sysctl NAME=VALUE, net.ipv4.vs.NAME=VALUE
//	mark NUMBER PREFIX, mark NUMBER PROTOCOL ADDRESS PORTS
//	ip WORDS, with c0 and r0 for the devices on the side of the clients and the servers
//
// The answer of a step is out: each frame that left, with the side C or R; conns and servers
// are what ipvsadm -Lcn and -Ln listed, in steps that have a time to look, or have conns
// already. An answer that differs from the one before only in what the kernel chooses anew
// each time, an identification or the order of a listing, or by seconds, stays.
type Story struct{ object }

// listed are the lines of a listing.
type listed []string

// leftFrame is a frame that the director sent.
type leftFrame struct {
	Side  string `json:"side"`
	Frame string `json:"frame"`
	Descr string `json:"descr,omitempty"`
}

func (s *Story) ask(ident *uint16) error { return inTestbed(ident, s.play) }

func (s *Story) play(b *testbed) error {
	var setup []string
	var steps []object
	if err := s.get("setup", &setup); err != nil {
		return err
	}
	if err := s.get("frames", &steps); err != nil {
		return err
	}
	if bytes.Contains(must(s.MarshalJSON()), []byte(":21 ")) {
		if _, err := command("", "modprobe", "ip_vs_ftp"); err != nil { // FTP's helper is not loaded by itself
			return err
		}
	}
	p := &storyPlayer{testbed: b, began: time.Now(), listing: "-Ln"}
	if strings.Contains(strings.Join(setup, " "), " -p") {
		p.listing += " --persistent-conn"
	}
	for _, line := range setup {
		if err := p.do(line); err != nil {
			return err
		}
	}
	for i := range steps {
		if err := p.step(&steps[i]); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	s.set("frames", steps)
	return nil
}

// storyPlayer plays a Story.
type storyPlayer struct {
	*testbed
	began   time.Time
	listing string // words of ipvsadm for servers
}

func (p *storyPlayer) step(s *object) error {
	var do []string
	var one, inject, pkt string
	var wait, at, look float64
	for key, v := range map[string]any{"inject": &inject, "pkt": &pkt, "wait": &wait, "at": &at, "look": &look} {
		if err := s.get(key, v); err != nil {
			return err
		}
	}
	if s.get("do", &do) != nil { // one command
		if err := s.get("do", &one); err != nil {
			return err
		}
		do = []string{one}
	}
	for _, line := range do {
		if err := p.do(line); err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(wait * float64(time.Second)))
	if inject != "" {
		p.until(at)
		if err := p.inject(s, inject, pkt); err != nil {
			return err
		}
	}
	p.until(look)
	if s.has("look") || s.has("conns") {
		s.keepListing("conns", p.list("-Lcn"))
	}
	if s.has("look") {
		s.keepListing("servers", p.list(p.listing))
	}
	return nil
}

// until waits until so many seconds have passed since the beginning.
func (p *storyPlayer) until(seconds float64) {
	time.Sleep(time.Until(p.began.Add(time.Duration(seconds * float64(time.Second)))))
}

// inject sends a packet and notes what leaves.
func (p *storyPlayer) inject(s *object, from, text string) error {
	packet, err := hex.DecodeString(text)
	if err != nil || len(packet) < 20 {
		return fmt.Errorf("recording: no packet: %.40s", text)
	}
	device, f := p.clients, frameOf(packet, clientsMAC, routerMAC)
	if from == "<" {
		device, f = p.servers, frameOf(packet, serversMAC, macOf(sender(packet)))
	}
	out, err := p.deliver(device, f)
	if err != nil {
		return err
	}
	var before, now []leftFrame
	if err := s.get("out", &before); err != nil {
		return err
	}
	described := len(before) == 0 || before[0].Descr != ""
	for _, side := range []struct {
		name   string
		frames [][]byte
	}{{"R", out.toServers}, {"C", out.toClients}} {
		for _, b := range side.frames {
			f := leftFrame{Side: side.name, Frame: hex.EncodeToString(b)}
			if described {
				f.Descr = Describe(b)
			}
			now = append(now, f)
		}
	}
	if !slices.EqualFunc(before, now, sameFrame) {
		s.set("out", append([]leftFrame{}, now...))
	}
	return nil
}

// sender returns the last byte of a packet's source address, the number of the real server.
func sender(packet []byte) byte {
	if packet[0]>>4 == 6 {
		return packet[23]
	}
	return packet[15]
}

// sameFrame reports whether two frames differ only in what is chosen anew each time.
func sameFrame(a, b leftFrame) bool {
	x, errX := hex.DecodeString(a.Frame)
	y, errY := hex.DecodeString(b.Frame)
	return errX == nil && errY == nil && a.Side == b.Side && bytes.Equal(porttest.Blank(x), porttest.Blank(y))
}

// list returns the lines of a listing without its heading, with one space between words.
func (p *storyPlayer) list(words string) listed {
	all := listed{}
	for line := range strings.Lines(p.ipvsadm(words)) {
		w := strings.Fields(line)
		if len(w) < 3 || w[1] == "Virtual" || w[0] == "IPVS" || w[0] == "Prot" || w[0] == "pro" || w[1] == "RemoteAddress:Port" {
			continue
		}
		all = append(all, strings.Join(w, " "))
	}
	return all
}

// keepListing sets a listing, unless the one before says the same. An empty one is left out.
func (o *object) keepListing(key string, now listed) {
	var before listed
	if err := o.get(key, &before); err == nil && sameLines(before, now) {
		return
	}
	if len(now) > 0 || o.has(key) {
		o.set(key, now)
	}
}

// sameLines reports whether two listings have the same lines in any order, but for some
// seconds in their times and the number of spaces.
func sameLines(a, b listed) bool {
	if len(a) != len(b) {
		return false
	}
	rest := slices.Clone(b)
	for _, line := range a {
		i := slices.IndexFunc(rest, func(other string) bool { return sameLine(line, other) })
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return true
}

func sameLine(a, b string) bool {
	return slices.EqualFunc(strings.Fields(a), strings.Fields(b), func(x, y string) bool {
		return x == y || isClock(x) && isClock(y) && sameTime(Expiry(x), Expiry(y))
	})
}

// isClock reports whether a word is minutes:seconds.
func isClock(s string) bool { return len(s) == 5 && s[2] == ':' && seconds(Expiry(s)) >= 0 }

// do runs a command of a story.
func (p *storyPlayer) do(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "ipvsadm":
		p.ipvsadm(rest)
	case word == "sysctl", strings.HasPrefix(word, "net.ipv4.vs."):
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "sysctl "), "net.ipv4.vs."), "=")
		return setSysctl("ipv4/vs/"+name, value)
	case word == "mark":
		return p.mark(strings.Fields(rest))
	case word == "ip":
		_, err := command("", "ip", strings.Fields(strings.NewReplacer(" c0", " clients", " r0", " servers").Replace(rest))...)
		return err
	default:
		p.ipvsadm(line)
	}
	return nil
}

// mark gives packets a firewall mark, to a prefix or of a protocol to an address and ports,
// and delivers them here whatever their destination.
func (p *storyPlayer) mark(w []string) error {
	number, match := "", ""
	switch len(w) {
	case 2:
		number, match = w[0], "daddr "+w[1]
	case 4:
		number, match = w[0], "daddr "+w[2]+" "+w[1]+" dport "+w[3]
	default:
		return fmt.Errorf("recording: mark %q: no such rule", w)
	}
	family, option := "ip ", "-4"
	if strings.Contains(w[len(w)/2], ":") {
		family, option = "ip6 ", "-6"
	}
	_, err := command(`add table inet story
add chain inet story marks { type filter hook prerouting priority mangle; }
add rule inet story marks `+family+match+" meta mark set "+number+"\n", "nft", "-f", "-")
	if err == nil {
		_, err = command("rule add fwmark "+number+" lookup 100\nroute replace local default dev lo table 100\n", "ip", option, "-batch", "-")
	}
	return err
}
