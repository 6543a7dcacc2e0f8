package forwarder

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/service"
)

// newMarkTestbed returns a director with a service by mark and two servers by direct routing.
func newMarkTestbed(t *testing.T, scheduler string, rules ...config.MarkRule) *testbed {
	t.Helper()
	b := newTestbed(t, "-A -f 1 -s "+scheduler+"\n-a -f 1 -r 10.1.0.1\n-a -f 1 -r 10.1.0.2")
	mustDo(t, b.fw.SetMarks(rules))
	return b
}

func mark(dst string, port uint16, m uint32) config.MarkRule {
	return config.MarkRule{Dst: netip.MustParsePrefix(dst), Proto: config.TCP, DstPorts: config.PortRange{First: port, Last: port}, Mark: m}
}

func TestAMarkJoinsPortsOfAnAddress(t *testing.T) {
	b := newMarkTestbed(t, "rr", mark("10.2.0.1/32", 80, 1), mark("10.2.0.1/32", 443, 1))
	b.expect("port 80 has the mark", 1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""),
		"server 02:00:00:01:00:02 172.16.0.9>10.2.0.1 tcp 30001>80")
	b.expect("so has 443, and the port stays", 1, seg(t, 1, "172.16.0.9:30002", "10.2.0.1:443", frame.FlagSYN, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.2.0.1 tcp 30002>443")
	b.expect("another port of the address, which only the director has, is refused", 1,
		seg(t, 1, "172.16.0.9:30003", "10.2.0.1:81", frame.FlagSYN, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 81>30003")
	if want := []netip.Addr{netip.MustParseAddr("10.2.0.1")}; !cmp.Equal(b.net.owned, want, cmp.Comparer(sameAddr)) {
		t.Errorf("the director answers for %v, want %v", b.net.owned, want)
	}
	mustDo(t, b.fw.DeleteMark(mark("10.2.0.1/32", 80, 1)))
	b.expect("without its rule port 80 has no mark", 1, seg(t, 1, "172.16.0.9:30004", "10.2.0.1:80", frame.FlagSYN, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>30004")
	mustDo(t, b.fw.DeleteService(config.Key{Mark: 1}))
	if len(b.net.owned) != 0 {
		t.Errorf("without a service the director still answers for %v", b.net.owned)
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

func TestTheLastMarkCounts(t *testing.T) {
	except := mark("10.2.0.1/32", 80, 0)
	except.Src = netip.MustParsePrefix("172.16.0.0/24")
	b := newMarkTestbed(t, "rr", mark("10.2.0.0/16", 80, 1), except)
	b.net.forward = true
	b.expect("a client outside of the exception is served", 1, seg(t, 1, "172.16.1.9:30001", "10.2.0.1:80", frame.FlagSYN, ""),
		"server 02:00:00:01:00:02 172.16.1.9>10.2.0.1 tcp 30001>80")
	b.expect("the exception is left to the host", 1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""))
	p := b.fw.newPlan()
	want := []guard.Match{
		{Src: except.Src, Dst: except.Dst, Proto: 6, DstPorts: [2]uint16{80, 80}},
		{Dst: netip.MustParsePrefix("10.2.0.0/16"), Proto: 6, DstPorts: [2]uint16{80, 80}, Drop: true},
	}
	if diff := cmp.Diff(want, p.Guard(nil).Marks, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("guard (-want +got):\n%s", diff)
	}
	if len(b.net.owned) != 0 || !p.AdmitsAll() {
		t.Errorf("a network of destinations: addresses %v, facts %v", b.net.owned, p.Contents())
	}
}

// A packet that belongs to no connection, to an address that is not the director's, is
// routed.
func TestWhatAMarkMayNotOpenIsRouted(t *testing.T) {
	b := newMarkTestbed(t, "rr", mark("172.20.0.0/16", 80, 1))
	b.net.forward = true
	ack := seg(t, 1, "172.16.0.9:30001", "172.20.0.1:80", frame.FlagACK, "")
	b.expect("an ACK goes to its destination", 1, ack,
		"client 02:00:00:02:00:01 172.16.0.9>172.20.0.1 tcp 30001>80")
}

func TestMarkRulesAreChecked(t *testing.T) {
	s := service.New(nil)
	bad := config.MarkRule{DstPorts: config.PortRange{First: 80, Last: 80}}
	good := mark("10.2.0.1/32", 80, 1)
	mustDo(t, s.AddMark(good))
	for name, err := range map[string]error{
		"add": s.AddMark(bad), "set": s.SetMarks([]config.MarkRule{good, bad}),
	} {
		if !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%s ports without protocol: %v", name, err)
		}
	}
	if err := s.DeleteMark(mark("10.2.0.1/32", 81, 1)); !errors.Is(err, config.ErrNoSuchMark) {
		t.Errorf("delete a rule that is not there: %v", err)
	}
	if got := s.Marks(); len(got) != 1 || got[0] != good {
		t.Errorf("rules %v", got)
	}
}
