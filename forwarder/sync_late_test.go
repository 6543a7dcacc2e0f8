package forwarder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/config"
)

func TestABackupThatComesLateGetsTheWholeTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &synced{syncSegment: &syncSegment{}}
		p.one = p.director(t, "10.99.0.1", syncedRules, SyncConfig{})
		for i := range 500 {
			p.one.open(fmt.Sprintf("172.16.%d.9:1000", i>>8), fmt.Sprintf("10.2.0.1:%d", 80+i%4))
			p.one.open(fmt.Sprintf("172.16.0.9:%d", 1001+i), fmt.Sprintf("10.2.0.1:%d", 80+i%4))
		}
		p.daemon(p.one, "master")
		p.two = p.director(t, "10.99.0.2", syncedRules, SyncConfig{})
		p.daemon(p.two, "backup")
		time.Sleep(2*bulkRest + beaconEvery)
		p.expectEqual("a second after it came")
		p.two.expectCounts("it asked once, and nothing was refused", map[string]uint64{"sync-asked": 1, "sync-refused-local-taken": 0})
	})
}

func TestABackupAsksForWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, syncedRules)
		time.Sleep(2 * beaconEvery)
		lost := 0
		p.mu.Lock()
		p.lose = func(b []byte) bool { // the first with entries
			if b[4] > 0 {
				lost++
			}
			return b[4] > 0 && lost == 1
		}
		p.mu.Unlock()
		p.one.open(client1, "10.2.0.1:80")
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack, 1000, 5001, ""))
		p.settle()
		if n := p.two.fw.conns.Len(); n != 0 {
			t.Fatalf("%d connections came", n)
		}
		time.Sleep(2*beaconEvery + bulkRest)
		p.expectEqual("after it noticed")
		p.two.expectCounts("it noticed one loss", map[string]uint64{"sync-missed": 1})
	})
}

// A director that comes back gets from its stand-by what it has forgotten, and the
// stand-by does not overwrite what it knows better.
func TestACopyDoesNotOverwriteAnOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, syncedRules)
		p.one.open(client1, "10.2.0.1:80")
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack, 1000, 5001, ""))
		p.settle()
		p.set(func(s *syncSegment) { s.lose = func([]byte) bool { return true } }) // the end of the connection
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack|1, 1000, 5001, ""))
		p.settle()
		p.set(func(s *syncSegment) { s.lose = nil })
		p.daemon(p.two, "master")
		p.daemon(p.one, "backup") // it asks for all
		time.Sleep(2*bulkRest + beaconEvery)
		if got := conns(p.one)[0]; !strings.Contains(got, "CLOSE_WAIT") {
			t.Errorf("the original became %s", got)
		}
		again := p.director(t, "10.99.0.3", syncedRules, SyncConfig{})
		p.one.ipvsadm("--stop-daemon master")
		p.daemon(again, "backup")
		time.Sleep(2*bulkRest + beaconEvery)
		if got := conns(again); len(got) != 1 {
			t.Errorf("who has nothing has %q of the copies", got)
		}
	})
}

func TestWithAKeyOnlyThoseWhoHaveItSynchronize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := SyncConfig{Key: []byte("0123456789abcdef")}
		p := &synced{syncSegment: &syncSegment{}}
		p.one = p.director(t, "10.99.0.1", syncedRules, key)
		p.two = p.director(t, "10.99.0.2", syncedRules, key)
		without := p.director(t, "10.99.0.3", syncedRules, SyncConfig{})
		p.one.open(client1, "10.2.0.1:80")
		for b, state := range map[*testbed]string{p.one: "master", p.two: "backup", without: "backup"} {
			p.daemon(b, state)
		}
		time.Sleep(2*bulkRest + beaconEvery)
		p.expectEqual("with the key, the whole table asked for")
		if n := without.fw.conns.Len(); n != 0 {
			t.Errorf("without the key it has %d connections", n)
		}
	})
}

// FTP by NAT goes on: the numbers stay shifted, and the next data connection is expected.
func TestFTPGoesOnAtTheBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rules = "-A -t 10.2.0.100:21 -s rr\n-a -t 10.2.0.100:21 -r 10.1.0.1:21 -m\n"
		p := newSynced(t, rules)
		b := &ftpConn{testbed: p.one, client: 1000, server: 5000}
		b.deliver(1, b.tcp(1, segment{src: "172.16.0.9:3001", dst: "10.2.0.100:21", flags: syn, seq: 999}))
		b.handshake("172.16.0.9:3001", "10.2.0.100:21", "10.1.0.1:21")
		b.says("PASV\r\n")
		b.answers("227 Entering Passive Mode (10,1,0,1,200,10).\r\n")
		p.settle()
		b.testbed = p.two
		b.says("PASV\r\n")
		got := b.answers("227 Entering Passive Mode (10,1,0,1,200,10).\r\n")
		if !strings.Contains(got, "seq=5048") || !strings.Contains(got, "(10,2,0,100,200,10)") {
			t.Errorf("the second answer, at the backup, is %q", got)
		}
	})
}

// A connection that a SYN proxy began goes on: the numbers change as at the master.
func TestAProxiedConnectionGoesOnAtTheBackup(t *testing.T) {
	for _, v := range proxied {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSynced(t, proxyRules)
				d := p.one.connect(v.client, v.virtual)
				for i := range uint32(3) {
					d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1 + i, Ack: d.cookie + 1}, "a")
				}
				p.settle()
				d.b = p.two
				got := d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 1, Ack: clientISN + 4, Window: 300, Options: []layers.TCPOption{stamps(910, 501)}}, "hello")
				if len(got) != 1 || got[0].Seq != d.cookie+1 || got[0].src != v.virtual || got[0].dst != v.client || got[0].Window != 300<<9>>proxyScale {
					t.Fatalf("the client hears %v, want number %d", got, d.cookie+1)
				}
				if val, _ := got[0].stamps(); val != d.its+10 {
					t.Errorf("the client hears time stamp %d, want %d", val, d.its+10)
				}
				got = d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 4, Ack: d.cookie + 6, Options: []layers.TCPOption{stamps(520, d.its+10)}}, "world")
				if len(got) != 1 || got[0].link != 2 || got[0].Ack != serverISN+6 || got[0].src != d.near || string(got[0].Payload) != "world" {
					t.Fatalf("the server hears %v, want it to acknowledge %d", got, serverISN+6)
				}
				if _, echo := got[0].stamps(); echo != 910 {
					t.Errorf("the server hears its time stamp as %d, want 910", echo)
				}
			})
		})
	}
}

func TestTemplatesAndMarksGoOnAtTheBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := "-A -t 10.2.0.1:80 -s rr -p 300\n"
		for i := range 9 {
			rules += fmt.Sprintf("-a -t 10.2.0.1:80 -r 10.1.0.%d:80 -m\n", i+1)
		}
		rules += "-A -f 5 -s rr -p 300\n-a -f 5 -r 10.1.0.1 -m\n-a -f 5 -r 10.1.0.2 -m\n" +
			"-A -u 10.2.0.1:5060 -s rr -p 60 --pe sip\n-a -u 10.2.0.1:5060 -r 10.1.0.1:5060 -m\n-a -u 10.2.0.1:5060 -r 10.1.0.2:5060 -m\n"
		p := newSynced(t, rules)
		for _, b := range []*testbed{p.one, p.two} {
			b.mark(config.MarkRule{Dst: netip.MustParsePrefix("10.2.0.9/32"), Proto: config.TCP, Mark: 5})
			mustDo(t, b.fw.RebuildPlan())
		}
		const invite = "INVITE sip:a@b SIP/2.0\r\nCall-ID: one-call@x\r\n\r\n"
		ask := func(b *testbed, port int) map[string]string {
			got := map[string]string{}
			for client := range 4 {
				c := fmt.Sprintf("172.16.0.%d:%d", client+1, port)
				got["tcp "+c[:10]] = b.words(b.send(1, at(t, 1, c, "10.2.0.1:80", syn, 999, 0, "")))[0][:24]
				got["mark "+c[:10]] = b.words(b.send(1, at(t, 1, c, "10.2.0.9:99", syn, 999, 0, "")))[0][:24]
			}
			got["sip"] = b.words(b.send(1, dgram(t, 1, fmt.Sprintf("172.16.0.1:%d", port), "10.2.0.1:5060", invite)))[0][:24]
			return got
		}
		first := ask(p.one, 1000)
		p.settle()
		if diff := cmp.Diff(first, ask(p.two, 2000)); diff != "" {
			t.Errorf("clients get other servers at the backup (-master +backup):\n%s", diff)
		}
		if got := strings.Join(conns(p.two), "\n"); !strings.Contains(got, "sip one-call@x") {
			t.Errorf("the Call-ID is not listed:\n%s", got)
		}
	})
}

// The daemons' settings outlive the director.
func TestDaemonsGoOnAfterAKill(t *testing.T) {
	h := newHeirs(t, oneByNAT)
	h.fw.MTU = func(string) (int, error) { return 1500, nil }
	h.ipvsadm("--start-daemon backup --mcast-interface s --syncid 7 --mcast-port 9999")
	before := h.ipvsadm("-L --daemon")
	h.kill()
	if got := h.ipvsadm("-L --daemon"); got != before || !strings.Contains(got, "9999") {
		t.Errorf("after the kill: %s, before: %s", got, before)
	}
}

// A director that was cut off and comes back sends all it has, with what has happened at the
// other meanwhile unknown to it.
func TestAStaleTableChangesNothingThatHadPacketsHere(t *testing.T) {
	const client, virtual = client1, "10.2.0.1:80"
	for _, c := range []struct {
		name string
		do   func(*synced)
		want string
	}{
		{"a connection that the client closed here", func(p *synced) {
			p.two.send(1, at(p.two.t, 1, client, virtual, ack|1, 1000, 5001, ""))
		}, "CLOSE_WAIT"},
		{"one whose client port was used again, for another server", func(p *synced) {
			p.two.send(1, at(p.two.t, 1, client, virtual, rst, 1000, 5001, ""))
			p.two.apply("-e -t 10.2.0.1:80 -r 10.1.0.1:8080 -m -w 0\n-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0\n-a -t 10.2.0.1:80 -r 10.1.0.3:8080 -m")
			p.two.send(1, at(p.two.t, 1, client, virtual, syn, 90000, 0, ""))
		}, "10.1.0.3:8080"},
		{"with another sync_threshold than it came with", func(p *synced) {
			p.two.send(1, at(p.two.t, 1, client, virtual, ack|1, 1000, 5001, ""))
			p.two.sysctl("sync_threshold", "4 50")
			p.one.sysctl("sync_threshold", "4 50")
		}, "CLOSE_WAIT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSynced(t, syncedRules)
				p.one.open(client, virtual)
				p.one.send(1, at(t, 1, client, virtual, ack, 1000, 5001, ""))
				p.settle()
				p.expectEqual("before the cable is out")
				p.set(func(s *syncSegment) { s.lose = func([]byte) bool { return true } })
				c.do(p)
				before := conns(p.two)
				if !strings.Contains(before[0], c.want) {
					t.Fatalf("the backup has %q, want %s", before, c.want)
				}
				p.set(func(s *syncSegment) { s.lose = nil })
				p.one.ipvsadm("--stop-daemon master")
				p.daemon(p.one, "master")
				time.Sleep(2*bulkRest + beaconEvery)
				if diff := cmp.Diff(before, conns(p.two)); diff != "" {
					t.Errorf("the stale table changed it:\n%s", diff)
				}
			})
		})
	}
}

// What a backup has had no packet of, and only missed the end of, the whole table mends.
func TestAWholeTableMendsACopyThatHadNoPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, syncedRules)
		p.one.open(client1, "10.2.0.1:80")
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack, 1000, 5001, ""))
		p.settle()
		p.set(func(s *syncSegment) { s.lose = func([]byte) bool { return true } })
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack|1, 1000, 5001, ""))
		p.settle()
		p.set(func(s *syncSegment) { s.lose = nil })
		time.Sleep(2*bulkRest + 2*beaconEvery)
		p.expectEqual("after the whole table came")
	})
}
