package forwarder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/sched"
)

// predict asks a twin what would become of a packet, and returns the verdict and what would
// be sent, in words.
func (b *testbed) predict(link int, p []byte, words func([]sent) []string) (string, []string) {
	b.t.Helper()
	l := b.fw.links.Load().byIndex(link)
	t, err := b.fw.twinFor(p, l)
	mustDo(b.t, err)
	defer t.close()
	record, frames := t.carry(l, p)
	var out []sent
	for _, link := range []int{1, 2} {
		for i := range frames {
			if frames[i].Egress == link {
				out = append(out, sent{link, slices.Clone(frames[i].Bytes()), frames[i].Offload})
			}
		}
	}
	return record.Verdict, words(out)
}

// dump is all of a director's state that anybody can see.
func (b *testbed) dump() string {
	conns := b.fw.Connections()
	slices.SortFunc(conns, func(a, b config.Connection) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	counters := b.fw.Counters()
	delete(counters, "goroutines")
	return fmt.Sprint(b.fw.Services(), conns, counters, b.fw.overload.counter.Load(), b.fw.openings.bytes, b.fw.nextLocal.Load(),
		b.fw.locals.InUse(), b.net.owned, b.net.probed)
}

// foretell compares what a twin says with what then happens, and the state around it.
func (b *testbed) foretell(link int, p []byte) {
	b.t.Helper()
	b.foretellIn(link, p, b.inFull)
}

func (b *testbed) foretellIn(link int, p []byte, words func([]sent) []string) {
	b.t.Helper()
	before := b.dump()
	verdict, want := b.predict(link, slices.Clone(p), words)
	if diff := cmp.Diff(before, b.dump()); diff != "" {
		b.t.Fatalf("the dry run changed something:\n%s", diff)
	}
	records, stop := b.fw.StartTrace(Wanted{})
	got := words(b.send(link, p))
	stop()
	real := <-records
	if verdict != real.Verdict {
		b.t.Fatalf("%s: foretold %s, came %s", real.Packet, verdict, real.Verdict)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Fatalf("%s (-foretold +came):\n%s", real.Packet, diff)
	}
}

// weather makes random packets and changes, and foretells each packet.
type weather struct {
	*testbed
	*rand.Rand
}

func (w *weather) step() {
	client := fmt.Sprintf("172.16.0.%d:%d", 1+w.IntN(3), 30000+w.IntN(4))
	flags := []uint8{syn, syn, syn, ack, frame.FlagFIN | ack, rst}[w.IntN(6)]
	switch w.IntN(12) {
	case 0, 1, 2, 3, 4, 5:
		w.foretell(1, at(w.t, 1, client, "10.2.0.1:80", flags, uint32(w.IntN(1000)), uint32(w.IntN(1000)), ""))
	case 6, 7:
		w.foretell(1, dgram(w.t, 1, client, "10.2.0.1:53", "hello"))
	case 8:
		w.foretell(2, at(w.t, 2, fmt.Sprintf("10.1.0.%d:8080", 1+w.IntN(3)), client, []uint8{syn | ack, ack, frame.FlagFIN | ack}[w.IntN(3)], 5000, 1000, ""))
	case 9:
		w.foretell(1, icmp(1, "172.16.0.1", "10.2.0.1", 8, 0, 7, "ping"))
	case 10:
		time.Sleep(time.Duration(w.IntN(100)) * time.Second)
		w.pass(time.Second)
	case 11:
		w.change()
	}
}

func (w *weather) change() {
	server := 1 + w.IntN(3)
	line := []string{
		"-e -t 10.2.0.1:80 -r 10.1.0.%d:8080 -m -w 0", "-e -t 10.2.0.1:80 -r 10.1.0.%d:8080 -m -w 3 -x 4 -y 2",
		"-e -t 10.2.0.1:80 -r 10.1.0.%d:8080 -m -w 1", "-d -t 10.2.0.1:80 -r 10.1.0.%d:8080", "-a -t 10.2.0.1:80 -r 10.1.0.%d:8080 -m -w 2",
	}[w.IntN(5)]
	_ = w.try(fmt.Sprintf(line, server)) // one that is there already, or not, is left as it is
	switch w.IntN(4) {
	case 0:
		w.sysctl("expire_nodest_conn", w.IntN(2))
	case 1:
		w.sysctl("expire_quiescent_template", w.IntN(2))
	case 2:
		w.sysctl("conn_reuse_mode", w.IntN(4))
	}
	mustDo(w.t, w.fw.RebuildPlan())
}

func TestADryRunForetellsWhatHappensAndChangesNothing(t *testing.T) {
	for _, scheduler := range sched.Names() {
		for _, persist := range []string{"", " -p 60"} {
			t.Run(scheduler+persist, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newTestbed(t, "-A -t 10.2.0.1:80 -s "+scheduler+persist+`
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m -w 1
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 2
-a -t 10.2.0.1:80 -r 10.1.0.3:8080 -m -w 3 -x 5 -y 3
-A -u 10.2.0.1:53 -s `+scheduler+`
-a -u 10.2.0.1:53 -r 10.1.0.1:53 -g
-a -u 10.2.0.1:53 -r 10.1.0.2:53 -i`)
					w := &weather{b, rand.New(rand.NewPCG(1, 2))}
					for range 40 {
						w.step()
					}
				})
			})
		}
	}
}

// The recorded packets go through every method, FTP, SIP, persistence, ICMP and errors.
func TestADryRunForetellsTheRecordedPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, fuzzRules)
		for n, in := range recordedInputs(t) {
			if n%8 == 0 {
				time.Sleep(30 * time.Second)
				b.pass(time.Second)
			}
			links, frames := fuzzFrames(in)
			for i, f := range frames {
				if isFragment(f.Bytes) {
					b.send(links[i], f.Bytes)
					continue
				}
				b.foretellIn(links[i], f.Bytes, inHex)
			}
		}
	})
}

// inHex describes frames by their bytes; those that the director numbers by chance are equal.
func inHex(out []sent) (all []string) {
	for _, s := range out {
		p := gopacket.NewPacket(s.b, layers.LayerTypeEthernet, gopacket.NoCopy)
		if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && (ip.Protocol == layers.IPProtocolICMPv4 || ip.Protocol == layers.IPProtocolIPv4 || ip.Protocol == layers.IPProtocolTCP) {
			clear(ip.Contents[4:6])
			clear(ip.Contents[10:12])
		}
		all = append(all, fmt.Sprintf("%d %x", s.link, s.b))
	}
	return all
}

// isFragment reports whether a frame waits for others in a worker, which a dry run has none
// of.
func isFragment(b []byte) bool {
	var p frame.Parser
	f := dryArrival(b, &linkState{})
	return p.Parse(&f) == frame.Continue && f.Info.Fragment
}

func TestADryRunForetellsEveryKindOfService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, `
-A -t 10.2.0.1:80 -s wlc
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 --fullnat
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 --fullnat
--add-laddr -t 10.2.0.1:80 --laddr 10.1.200.1
--add-laddr -t 10.2.0.1:80 --laddr 10.1.200.2
-A -t [fd00:2::1]:80 -s rr -p 50 -M 64
-a -t [fd00:2::1]:80 -r [fd00:1::1]:80 -g
-a -t [fd00:2::1]:80 -r [fd00:1::2]:80 -m
-A -f 7 -s rr -p 30 -M 255.255.255.0
-a -f 7 -r 10.1.0.2:0 -g
-a -f 7 -r 10.1.0.3:0 -g
-A -t 10.2.0.2:80 -s rr
-a -t 10.2.0.2:80 -r 10.1.0.1:8080 -m
-a -t 10.2.0.2:80 -r 10.1.0.3:8080 -m
synproxy -t 10.2.0.2:80 on
-A -u 10.2.0.1:53 -s rr -o
-a -u 10.2.0.1:53 -r 10.1.0.1:53 -m
-a -u 10.2.0.1:53 -r 10.1.0.2:53 -m
-A -u 10.2.0.1:5060 -s rr -p 60 --pe sip
-a -u 10.2.0.1:5060 -r 10.1.0.1:5060 -m
-a -u 10.2.0.1:5060 -r 10.1.0.2:5060 -m
-A --sctp-service 10.2.0.1:80 -s rr
-a --sctp-service 10.2.0.1:80 -r 10.1.0.1:80 -m
-a --sctp-service 10.2.0.1:80 -r 10.1.0.2:80 -m
-A -t 10.2.0.3:0 -s lblcr -p 20
-a -t 10.2.0.3:0 -r 10.1.0.1:0 -i
policy -t 10.2.0.1:80 --gone reset --drain 20`)
		b.mark(config.MarkRule{Proto: config.TCP, DstPorts: config.PortRange{First: 443, Last: 443}, Mark: 7})
		b.foretellHandshake()
		w := &weather{b, rand.New(rand.NewPCG(3, 4))}
		for range 300 {
			w.mixed()
		}
	})
}

// foretellHandshake has a client open a connection through the SYN proxy.
func (b *testbed) foretellHandshake() {
	b.t.Helper()
	const client, service = "172.16.0.77:5000", "10.2.0.2:80"
	out := b.send(1, at(b.t, 1, client, service, syn, 999, 0, ""))
	cookie := binary.BigEndian.Uint32(out[0].b[14+20+4:])
	b.foretell(1, at(b.t, 1, client, service, ack, 1000, cookie+1, "early data"))
	b.foretell(1, at(b.t, 1, client, service, ack, 1010, cookie+1, "more"))
	for _, c := range b.fw.Connections() {
		b.foretell(2, at(b.t, 2, c.Server.String(), client, syn|ack, 5000, 1000, ""))
	}
	b.foretell(1, at(b.t, 1, client, service, ack, 1014, cookie+1, ""))
	if b.verdict(frame.ProxyOpened) != 1 || b.verdict(frame.ProxyAnswered) != 1 {
		b.t.Error("the handshake was not completed")
	}
}

// mixed sends a packet to one of many kinds of service, or changes something.
func (w *weather) mixed() {
	host, port := 1+w.IntN(3), 30000+w.IntN(3)
	client := fmt.Sprintf("172.16.0.%d:%d", host, port)
	client6 := fmt.Sprintf("[fd00:c::%d]:%d", host, port)
	flags := []uint8{syn, syn, ack, ack, frame.FlagFIN | ack, rst}[w.IntN(6)]
	seq, acked := uint32(w.IntN(3000)), uint32(w.IntN(3000))
	switch w.IntN(13) {
	case 0, 1:
		w.foretell(1, at(w.t, 1, client, "10.2.0.1:80", flags, seq, acked, ""))
	case 2:
		w.foretell(1, at(w.t, 1, client6, "[fd00:2::1]:80", flags, seq, acked, "data"))
	case 3:
		w.foretell(1, at(w.t, 1, client, fmt.Sprintf("10.2.0.%d:443", 1+w.IntN(5)), flags, seq, acked, ""))
	case 4:
		w.foretell(1, at(w.t, 1, client, "10.2.0.2:80", flags, seq, acked, ""))
	case 5:
		w.foretell(1, dgram(w.t, 1, client, "10.2.0.1:53", "q"))
	case 6:
		w.foretell(1, dgram(w.t, 1, client, "10.2.0.1:5060", fmt.Sprintf("INVITE sip:x SIP/2.0\r\nCall-ID: %d@call\r\n\r\n", w.IntN(3))))
	case 7:
		chunk := []layers.SCTPChunkType{layers.SCTPChunkTypeInit, layers.SCTPChunkTypeData, layers.SCTPChunkTypeAbort}[w.IntN(3)]
		w.foretell(1, sctpPacket(client, "10.2.0.1:80", 0, chunk))
	case 8:
		w.foretell(1, at(w.t, 1, client, fmt.Sprintf("10.2.0.3:%d", 20+w.IntN(3)), flags, seq, acked, ""))
	case 9, 10:
		w.replyTo(1 + w.IntN(3))
	case 11:
		time.Sleep(time.Duration(w.IntN(40)) * time.Second)
		w.pass(time.Second)
	case 12:
		w.turn()
	}
}

// replyTo sends what a server may answer to one of the connections, or an ICMP error about
// it.
func (w *weather) replyTo(nth int) {
	all := w.fw.Connections()
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b config.Connection) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	c := all[w.IntN(len(all))]
	if c.Template || !c.Method.Translates() {
		return
	}
	to := c.Client
	if c.Local.IsValid() {
		to = c.Local
	}
	switch c.Proto {
	case config.TCP:
		p := at(w.t, 2, c.Server.String(), to.String(), []uint8{syn | ack, ack, frame.FlagFIN | ack}[nth-1], 5000, 1000, "")
		if w.IntN(4) == 0 && to.Addr().Is4() {
			p = icmp(2, "10.1.0.9", to.Addr().String(), 3, 3, 0, string(at(w.t, 2, to.String(), c.Server.String(), ack, 1, 1, "")[14:]))
		}
		w.foretell(2, p)
	case config.UDP:
		w.foretell(2, dgram(w.t, 2, c.Server.String(), to.String(), "answer"))
	}
}

// turn changes a setting or a server.
func (w *weather) turn() {
	switch w.IntN(8) {
	case 0:
		w.sysctl("expire_nodest_conn", w.IntN(2))
	case 1:
		w.sysctl("drop_packet", []int{0, 3}[w.IntN(2)])
	case 2:
		w.sysctl("schedule_icmp", w.IntN(2))
	case 3:
		w.sysctl("sloppy_tcp", w.IntN(2))
	case 4:
		w.sysctl("conn_reuse_mode", w.IntN(4))
	case 5:
		w.sysctl("cache_bypass", w.IntN(2))
	case 6:
		_ = w.try("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	case 7:
		_ = w.try("-a -t 10.2.0.1:80 -r 10.1.0.2:8080 --fullnat")
	}
	mustDo(w.t, w.fw.RebuildPlan())
}

func TestADryRunForetellsAFullTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbedOf(t, twoByNAT, 3)
		for i := range 5 {
			b.foretell(1, at(t, 1, fmt.Sprintf("172.16.0.9:%d", 5000+i), "10.2.0.1:80", syn, 1000, 0, ""))
		}
		if b.verdict(frame.DropConnTableFull) == 0 {
			t.Error("the table was never full")
		}
	})
}

func TestADryRunTellsOfTheAnswerToo(t *testing.T) {
	b := newTestbed(t, twoByNAT+`
-A -t 10.2.0.9:80 -s rr
-a -t 10.2.0.9:80 -r 10.1.0.1:80 -g -w 0
-A -t 10.2.0.8:80 -s rr
-a -t 10.2.0.8:80 -r 10.1.0.1:80 -g
-A -t 10.2.0.7:80 -s wlc
-a -t 10.2.0.7:80 -r 10.1.0.1:80 --fullnat`)
	end := netip.MustParseAddrPort
	for _, c := range []struct {
		because, proto, to, flags, verdict, back string
	}{
		{"by NAT the answer comes back", "tcp", "10.2.0.1:80", "", "forward", "forward"},
		{"by FULLNAT too", "tcp", "10.2.0.7:80", "", "forward", "forward"},
		{"by direct routing it does not", "tcp", "10.2.0.8:80", "", "forward", ""},
		{"without a server there is none", "tcp", "10.2.0.9:80", "", "answered", ""},
		{"what belongs to no connection is reset", "tcp", "10.2.0.1:80", "ack", "answered", ""},
		{"the address is pinged", "icmp", "10.2.0.1:0", "", "answered", ""},
		{"nothing is served there", "sctp", "10.2.0.1:99", "init", "answered", ""},
		{"the host has it", "udp", "10.9.0.1:53", "", "pass", ""},
	} {
		there, back, err := b.fw.DryRun(config.DryPacket{Proto: c.proto, Source: end("172.16.0.9:5000"), Destination: end(c.to), Flags: c.flags})
		if err != nil {
			t.Errorf("%s: %v", c.because, err)
			continue
		}
		got := ""
		if back != nil {
			got = back.Verdict
		}
		if there.Verdict != c.verdict || got != c.back {
			t.Errorf("%s: %s, then %q; want %s, then %q: %+v", c.because, there.Verdict, got, c.verdict, c.back, there.Steps)
		}
	}
	for _, p := range []config.DryPacket{
		{Proto: "tcp"}, {Proto: "tcp", Source: end("172.16.0.9:1")}, {Proto: "tcp", Source: end("172.16.0.9:1"), Destination: end("[fd00::1]:1")},
		{Proto: "ospf", Source: end("172.16.0.9:1"), Destination: end("10.2.0.1:80")},
		{Proto: "tcp", Flags: "bogus", Source: end("172.16.0.9:1"), Destination: end("10.2.0.1:80")},
		{Proto: "tcp", Link: "eth9", Source: end("172.16.0.9:1"), Destination: end("10.2.0.1:80")},
		{Proto: "tcp", Length: 1 << 20, Source: end("172.16.0.9:1"), Destination: end("10.2.0.1:80")},
		{Proto: "tcp", Source: end("8.8.8.8:1"), Destination: end("10.2.0.1:80")},
	} {
		if _, _, err := b.fw.DryRun(p); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// Who adds a field to the Forwarder has to decide what it is in the copy for a dry run.
func TestTheTwinKnowsEachFieldOfTheDirector(t *testing.T) {
	const known = "Table SyncDaemons sync conf log neigh conns locals modes cookies started view links rules sysctl accounts gone " +
		"nextLocal forgotten clock overload openings ftp sip guardQueue serverLog tracing arrivals others busy ready mu queue counted " +
		"silent quiet checks decided probes refusals ended txLock tx planLock checkedServers applied"
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Forwarder]()) {
		if len(f.Index) == 1 && !slices.Contains(strings.Fields(known), f.Name) {
			t.Errorf("does newTwin have to copy %s, to share it, or to leave it empty? Then name it here", f.Name)
		}
	}
}
