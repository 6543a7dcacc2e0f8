package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/internal/lang"
)

// reply follows the answers to requests: through some nodes, past others, and back to the
// client from no address but the one it asked. If answers are expected, only connections that
// bring one of those count.
func (r *checkRun) reply() (bool, lang.Text, lang.Text) {
	expected := r.wayBack()
	vip, err := r.target()
	if err != nil {
		return false, plain(err.Error()), expected
	}
	taps := map[string]*tap{}
	for _, node := range slices.Concat([]string{r.From}, r.Through, r.Past) {
		if taps[node] != nil {
			continue
		}
		if taps[node], err = r.lab.tap(node); err != nil {
			return false, plain(err.Error()), expected
		}
		defer taps[node].close()
	}
	counted := 0
	n := r.times(max(1, len(r.lab.Topology.RealServers())))
	for range n {
		page, from, err := r.connection()
		if err != nil {
			return false, r.failure(err), expected
		}
		if len(r.Expect) > 0 && !slices.Contains(r.Expect, page) {
			continue
		}
		counted++
		if wrong, err := r.strayed(taps, vip, from); err != nil || wrong != nil {
			if err != nil {
				wrong = &lang.Text{EN: err.Error(), ZH: err.Error()}
			}
			return false, *wrong, expected
		}
	}
	if counted == 0 {
		return false, lang.Textf("no answer of %s", "没有得到 %s 的应答", strings.Join(r.Expect, ", ")), expected
	}
	return true, expected, expected
}

// wayBack says where answers have to pass.
func (r *checkRun) wayBack() lang.Text {
	var en, zh []string
	if len(r.Through) > 0 {
		names := strings.Join(r.Through, " / ")
		en, zh = append(en, "answers pass "+names), append(zh, "应答经过 "+names)
	}
	if len(r.Past) > 0 {
		names := strings.Join(r.Past, ", ")
		en, zh = append(en, "answers do not pass "+names), append(zh, "应答不经过 "+names)
	}
	en, zh = append(en, "the client gets them from the virtual address only"), append(zh, "客户端只收到来自虚拟地址的应答")
	return lang.Text{EN: strings.Join(en, "; "), ZH: strings.Join(zh, "；")}
}

// connection asks once and returns the client's end of the connection, too.
func (r *checkRun) connection() (page string, from netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.Within)
	defer cancel()
	vip, err := r.target()
	if err != nil {
		return "", from, err
	}
	conn, err := r.lab.Dial(ctx, r.From, "tcp", vip.String())
	if err != nil {
		return "", from, err
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(at)
	}
	from, err = netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return "", from, err
	}
	page, err = askOn(conn, bufio.NewReader(conn), r.Get)
	return page, from, err
}

// strayed looks at what taps saw of a connection that is over, and says what is wrong with it.
func (r *checkRun) strayed(taps map[string]*tap, vip, client netip.AddrPort) (*lang.Text, error) {
	passed := map[string]bool{}
	for node, t := range taps {
		frames, err := t.waiting()
		if err != nil {
			return nil, err
		}
		for i := range frames {
			s, ok := frames[i].tcp()
			if !ok || s.to != client && !s.accepts {
				continue
			}
			passed[node] = passed[node] || s.to == client || slices.Contains(r.Through, node)
			if node == r.From && s.to == client && s.from != vip {
				text := lang.Textf("the client got a packet from %s", "客户端收到来自 %s 的报文", s.from)
				return &text, nil
			}
		}
	}
	if len(r.Through) > 0 && !slices.ContainsFunc(r.Through, func(node string) bool { return passed[node] }) {
		text := lang.Textf("answers did not pass %s", "应答没有经过 %s", strings.Join(r.Through, " / "))
		return &text, nil
	}
	if i := slices.IndexFunc(r.Past, func(node string) bool { return passed[node] }); i >= 0 {
		text := lang.Textf("answers passed %s", "应答经过了 %s", r.Past[i])
		return &text, nil
	}
	return nil, nil
}

// segment is what counts of a TCP segment that a node got.
type segment struct {
	from, to netip.AddrPort
	accepts  bool // it is a server's first: SYN and ACK. By FULLNAT it is not addressed to the client.
}

// tcp returns the segment in a frame that is addressed to the node.
func (s *sighted) tcp() (g segment, ok bool) {
	if !s.toNode {
		return g, false
	}
	p := gopacket.NewPacket(s.bytes, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	n := p.NetworkLayer()
	if !ok || n == nil {
		return g, false
	}
	src, dst := n.NetworkFlow().Endpoints()
	from, _ := netip.AddrFromSlice(src.Raw())
	to, _ := netip.AddrFromSlice(dst.Raw())
	g.from, g.to = netip.AddrPortFrom(from, uint16(tcp.SrcPort)), netip.AddrPortFrom(to, uint16(tcp.DstPort))
	g.accepts = tcp.SYN && tcp.ACK
	return g, true
}

// askOn asks for a page on an open connection.
func askOn(c net.Conn, in *bufio.Reader, url string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	if err := req.Write(c); err != nil {
		return "", err
	}
	return readPage(in)
}
