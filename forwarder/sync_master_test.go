package forwarder

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/connsync"
	"uvs/sched"
)

// entriesOf returns the entries that a segment has seen since the last call.
func (s *syncSegment) entriesOf(t *testing.T) (all []connsync.Entry) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.seen {
		m, r := connsync.Parse(b)
		if r != connsync.Taken {
			t.Fatalf("%x: %v", b, r)
		}
		for {
			var e connsync.Entry
			r, ok := m.Next(&e)
			if !ok {
				break
			}
			if r != connsync.Taken {
				t.Fatalf("%x: %v", b, r)
			}
			all = append(all, e)
		}
	}
	s.seen = nil
	return all
}

func entryWords(all []connsync.Entry) string {
	var b strings.Builder
	for i := range all {
		e := &all[i]
		fmt.Fprintf(&b, "%d>%d p%d f%x s%d t%d m%d; ", e.ClientPort, e.VirtualPort, e.Proto, e.Flags, e.State, e.Timeout, e.Mark)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

// newMaster returns a director with a master daemon of syncid 9 on a segment.
func newMaster(t *testing.T, commands string) *synced {
	p := &synced{syncSegment: &syncSegment{}}
	p.one = p.director(t, "10.99.0.1", commands, SyncConfig{})
	p.one.ipvsadm("--start-daemon master --mcast-interface s --syncid 9")
	return p
}

// sentAfter returns what a master sends because of what a function does.
func (p *synced) sentAfter(t *testing.T, do func()) string {
	t.Helper()
	do()
	p.settle()
	return entryWords(p.entriesOf(t))
}

const client1 = "172.16.5.1:1111"

func (p *synced) packets(n int, client, virtual string) {
	for range n {
		p.one.send(1, at(p.one.t, 1, client, virtual, ack, 1000, 5001, ""))
	}
}

func (p *synced) syn(client, virtual string) {
	p.one.send(1, at(p.one.t, 1, client, virtual, syn, 999, 0, ""))
}

// What Linux 6.1 sent for these packets is recorded.
func TestAMasterSendsWhatTheRecordedOneDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newMaster(t, `-A -t 10.2.1.27:80 -s rr
-a -t 10.2.1.27:80 -r 10.1.0.3:80 -m
`)
		p.syn(client1, "10.2.1.27:80")
		p.packets(2, client1, "10.2.1.27:80")
		p.settle()
		want, _ := hex.DecodeString("0009002c01010000000600240000000000010457005000500000000000000384ac1005010a02011b0a010003")
		p.mu.Lock()
		defer p.mu.Unlock()
		if got := p.seen[len(p.seen)-1]; !bytes.Equal(got, want) {
			t.Errorf("sent\n%x\nnot\n%x", got, want)
		}
	})
}

func TestAMasterSendsByTheRulesOfTheKernel(t *testing.T) {
	const rules = `-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m
-A -t 10.2.0.1:443 -s rr -p 120
-a -t 10.2.0.1:443 -r 10.1.0.1:443 -m
-A -u 10.2.0.1:53 -s rr
-a -u 10.2.0.1:53 -r 10.1.0.1:53 -g
-A -u 10.2.0.2:53 -s rr -o
-a -u 10.2.0.2:53 -r 10.1.0.1:53 -m
`
	tcp := func(n int) func(*synced) {
		return func(p *synced) { p.syn(client1, "10.2.0.1:80"); p.packets(n, client1, "10.2.0.1:80") }
	}
	const established = "1111>80 p6 f0 s1 t900 m0"
	for _, c := range []struct {
		name, sysctls string
		do            func(*synced)
		want          string
	}{
		{"not before the third packet", "", tcp(1), ""},
		{"the third packet of a connection", "", tcp(2), established},
		{"and every 50th after", "", tcp(102), established + "; " + established + "; " + established},
		{"another threshold", "sync_threshold=2 5", tcp(6), established + "; " + established},
		{"once without a period", "sync_threshold=4 0", tcp(100), established},
		{"the end at once, in a closing state", "", func(p *synced) {
			tcp(2)(p)
			p.one.send(1, at(p.one.t, 1, client1, "10.2.0.1:80", ack|1, 1000, 5001, ""))
		}, established + "; 1111>80 p6 f100 s7 t60 m0"},
		{"the end of one that was never sent", "", func(p *synced) {
			p.syn(client1, "10.2.0.1:80")
			p.one.send(1, at(p.one.t, 1, client1, "10.2.0.1:80", 4, 1000, 0, ""))
		}, ""},
		{"every packet by the refresh period alone, but not soon again", "sync_threshold=0 0;sync_refresh_period=100", tcp(20), established},
		{"repeated where retries ask for it", "sync_threshold=0 0;sync_refresh_period=8;sync_retries=1", func(p *synced) {
			tcp(2)(p)
			time.Sleep(2 * time.Second)
			p.packets(5, client1, "10.2.0.1:80")
		}, established + "; " + established},
		{"again after the period", "sync_threshold=0 0;sync_refresh_period=8", func(p *synced) {
			tcp(2)(p)
			time.Sleep(9 * time.Second)
			p.packets(5, client1, "10.2.0.1:80")
		}, established + "; " + established},
		{"a template with each packet", "", func(p *synced) { p.syn(client1, "10.2.0.1:443"); p.packets(1, client1, "10.2.0.1:443") },
			"0>443 p6 f1100 s0 t120 m0; 0>443 p6 f1100 s1 t120 m0"},
		{"a template and its connection", "sync_refresh_period=10", func(p *synced) { p.syn(client1, "10.2.0.1:443"); p.packets(2, client1, "10.2.0.1:443") },
			"0>443 p6 f1100 s0 t120 m0; 1111>443 p6 f0 s1 t900 m0"},
		{"only the template with sync_persist_mode", "sync_refresh_period=10;sync_persist_mode=1", func(p *synced) { p.syn(client1, "10.2.0.1:443"); p.packets(60, client1, "10.2.0.1:443") },
			"0>443 p6 f1100 s0 t120 m0"},
		{"UDP by DR, by its packets", "", func(p *synced) {
			for range 60 {
				p.one.send(1, dgram(p.one.t, 1, client1, "10.2.0.1:53", "x"))
			}
		}, "1111>53 p17 f183 s0 t300 m0; 1111>53 p17 f183 s0 t300 m0"},
		{"no connections of one packet", "", func(p *synced) {
			for range 60 {
				p.one.send(1, dgram(p.one.t, 1, client1, "10.2.0.2:53", "x"))
			}
		}, ""},
		{"version 0", "sync_version=0", tcp(2), "1111>80 p6 f0 s1 t0 m0"},
		{"in version 0 a template only with its connection", "sync_version=0", func(p *synced) {
			p.syn(client1, "10.2.0.1:443")
			p.packets(2, client1, "10.2.0.1:443")
		}, "1111>443 p6 f0 s1 t0 m0; 0>443 p6 f1100 s0 t0 m0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newMaster(t, rules)
				for _, s := range strings.FieldsFunc(c.sysctls, func(r rune) bool { return r == ';' }) {
					name, value, _ := strings.Cut(s, "=")
					p.one.sysctl(name, value)
				}
				if got := p.sentAfter(t, func() { c.do(p) }); got != c.want {
					t.Errorf("sent\n%s\nnot\n%s", got, c.want)
				}
			})
		})
	}
}

func TestTemplatesOfMarksAreSentWithTheirMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newMaster(t, "-A -f 78 -s rr -p 60\n-a -f 78 -r 10.1.0.8 -i\n")
		p.one.mark(config.MarkRule{Dst: netip.MustParsePrefix("10.2.1.27/32"), Proto: config.TCP, Mark: 78})
		mustDo(t, p.one.fw.RebuildPlan())
		if got := p.sentAfter(t, func() { p.syn("172.16.5.1:5555", "10.2.1.27:7878") }); got != "0>0 p0 f1182 s0 t60 m78" {
			t.Errorf("sent %s", got)
		}
	})
}

func TestAMasterKeepsUpWithNothingButWhatItHasRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newMaster(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n")
		p.one.ipvsadm("--stop-daemon master")
		p.one.sysctl("sync_qlen_max", 1)
		p.one.sysctl("sync_threshold", "1 2")
		p.one.ipvsadm("--start-daemon master --mcast-interface s --syncid 9")
		p.settle()
		p.syn(client1, "10.2.0.1:80")
		for range 1000 {
			p.packets(1, client1, "10.2.0.1:80")
		}
		all := p.one.fw.Counters()
		if all["sync-lost"] == 0 {
			t.Error("nothing was lost, and the queue has one place")
		}
		p.settle()
		p.one.expectCounts("what was not lost is sent", map[string]uint64{"sync-entries-sent": 500 - all["sync-lost"]})
	})
}

// ipvsadm --stop-daemon and -start-daemon change nothing in what workers do with packets.
func TestAWorkerFollowsTheMasterThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newMaster(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n")
		for i := range 3 {
			client := fmt.Sprintf("172.16.5.1:%d", 2000+i)
			if got := p.sentAfter(t, func() { p.syn(client, "10.2.0.1:80"); p.packets(2, client, "10.2.0.1:80") }); got == "" {
				t.Errorf("start %d: nothing was sent", i)
			}
			p.one.ipvsadm("--stop-daemon master")
			if got := p.sentAfter(t, func() { p.packets(100, client, "10.2.0.1:80") }); got != "" {
				t.Errorf("stopped, it sent %s", got)
			}
			p.one.ipvsadm("--start-daemon master --mcast-interface s --syncid 9")
			p.settle()
			p.entriesOf(t)
		}
	})
}

func TestSynchronizationDoesNotAllocateForPackets(t *testing.T) {
	p := &synced{syncSegment: &syncSegment{}}
	p.one = p.director(t, "10.99.0.1", "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n", SyncConfig{})
	p.one.ipvsadm("--start-daemon master --mcast-interface s --syncid 9")
	p.one.open(client1, "10.2.0.1:80")
	w := p.one.workers[1]
	w.begin()
	defer w.end()
	var c *conntrack.Conn
	p.one.reader(func(x *conntrack.Conn) { c = x })
	w.sysctl.SyncThreshold = [2]int32{0, 1}
	if n := testing.AllocsPerRun(1000, func() { c.CountPacket(); w.synchronize(c) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if c.Method() != sched.Masq {
		t.Fatal("no connection")
	}
}

// reader calls f for every connection.
func (b *testbed) reader(f func(*conntrack.Conn)) {
	r := b.fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool { f(c); return true })
}
