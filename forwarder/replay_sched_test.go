package forwarder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// schedTrace is a recorded sequence of packets and ipvsadm commands, with the server that
// each packet went to.
type schedTrace struct {
	Name, Sched, Final string
	Setup              []string
	Events             [][]any
	Results            []any
}

// opened is a connection of a trace by its key.
type opened struct{ client, virtual, server string }

func TestRecordedSchedulersEndToEnd(t *testing.T) {
	for _, tr := range lines[schedTrace](t, "../sched/testdata/recorded.jsonl") {
		t.Run(tr.Name+" "+tr.Sched, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tr.replay(newTestbed(t, "")) })
		})
	}
}

func (tr *schedTrace) replay(b *testbed) {
	for k := uint16(1); k <= 60; k++ {
		b.mark(config.MarkRule{Proto: config.UDP, DstPorts: config.PortRange{First: 7000 + k, Last: 7000 + k}, Mark: uint32(k)})
	}
	for _, line := range tr.Setup {
		b.ipvsadm(line)
	}
	conns := map[string]opened{}
	for i, e := range tr.Events {
		got := tr.event(b, e, conns)
		want, _ := tr.Results[i].(string)
		if got != want && (want != "" || e[0] == "syn" || e[0] == "udp") {
			b.t.Fatalf("event %d %v: went to %q, recorded %q", i, e, got, want)
		}
	}
	_, final, _ := strings.Cut(b.ipvsadm("-Ln"), "Conn\n")
	if diff := cmp.Diff(strings.TrimRight(tr.Final, "\n"), strings.TrimRight(final, "\n")); diff != "" {
		b.t.Errorf("the listing at the end (-recorded +got):\n%s", diff)
	}
}

func (tr *schedTrace) event(b *testbed, e []any, conns map[string]opened) string {
	switch e[0] {
	case "ipvs":
		b.ipvsadm(e[1].(string))
	case "syn":
		o := opened{client: end(e[2], e[3]), virtual: end(e[4], e[5])}
		o.server = picked(b.deliver(1, b.tcp(1, segment{src: o.client, dst: o.virtual, flags: frame.FlagSYN, seq: 1000})))
		conns[fmt.Sprint(e[1])] = o
		return o.server
	case "udp":
		return picked(b.deliver(1, b.udp(1, end(e[1], e[2]), end(e[3], e[4]), "hello")))
	case "counts":
		return b.ipvsadm("-Ln")
	default:
		tr.later(b, e[0].(string), conns[fmt.Sprint(e[1])])
	}
	return ""
}

// later plays an event of a connection, if it was opened.
func (tr *schedTrace) later(b *testbed, what string, o opened) {
	if o.server == "" {
		return
	}
	switch what {
	case "est":
		b.handshake(o.client, o.virtual, o.server)
	case "rst":
		b.deliver(1, b.tcp(1, segment{o.client, o.virtual, frame.FlagRST, 1001, 0, ""}))
	case "fin":
		b.deliver(1, b.tcp(1, segment{o.client, o.virtual, frame.FlagFIN | frame.FlagACK, 1001, 5001, ""}))
	}
}

// end joins an address and a port of the recording.
func end(addr, port any) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr.(string)), uint16(port.(float64))).String()
}
