package forwarder

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/connsync"
)

// A link that takes nothing holds up neither the end of the daemon nor that of connections.
func TestAMasterEndsAlthoughItsLinkIsStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, syncedRules)
		for i := range 3000 {
			p.one.open(fmt.Sprintf("172.16.%d.%d:1000", i>>8, i&255), "10.2.0.1:80")
		}
		p.set(func(s *syncSegment) { s.stalled = true })
		p.one.fw.sync.master.Load().sendAll()
		p.settle()
		began := time.Now()
		p.one.ipvsadm("--stop-daemon master")
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// A master whose socket fails, as after its address has gone, says so once, and goes on as
// soon as it can.
func TestAMasterWhoseSocketFailsOpensItAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, syncedRules)
		var log bytes.Buffer
		p.one.ipvsadm("--stop-daemon master")
		p.one.fw.log = slog.New(slog.NewTextHandler(&log, nil))
		p.daemon(p.one, "master")
		synctest.Wait()
		first := p.one.fw.sync.master.Load().ports[0].conn
		p.set(func(s *syncSegment) { s.fail = syscall.EINVAL })
		p.one.open(client1, "10.2.0.1:80")
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack, 1000, 5001, ""))
		time.Sleep(10 * beaconEvery)
		p.set(func(s *syncSegment) { s.fail = nil })
		time.Sleep(2*bulkRest + 3*beaconEvery)
		p.expectEqual("after it could send again")
		synctest.Wait()
		lost, back := strings.Count(log.String(), "sync-interface-lost"), strings.Count(log.String(), "sync-interface-back")
		if lost != 1 || back != 1 {
			t.Errorf("it was told of %d times, and of the end %d times:\n%s", lost, back, log.String())
		}
		if p.one.fw.sync.master.Load().ports[0].conn == first {
			t.Error("it is the same socket")
		}
	})
}

// Where each whole table is reason to ask for another, they come less and less often.
func TestWholeTablesAreSentLessOftenWhereTheyDoNotHelp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, syncedRules)
		time.Sleep(10 * time.Second)
		before := p.one.fw.Counters()["sync-bulks"]
		ask := func(times int) uint64 {
			for range times {
				p.one.fw.sync.master.Load().sendAll()
				time.Sleep(time.Second)
			}
			return p.one.fw.Counters()["sync-bulks"] - before
		}
		if n := ask(60); n < 3 || n > 6 {
			t.Errorf("%d in a minute in which each second one was asked for", n)
		}
		time.Sleep(2 * maxBulkRest)
		before = p.one.fw.Counters()["sync-bulks"]
		time.Sleep(2 * maxBulkRest)
		if n := ask(5); n != 2 {
			t.Errorf("after a rest %d in 5 s, want 2", n)
		}
	})
}

// Nobody can have a director take what it has sent itself.
func TestWhatADirectorSentItselfIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &synced{syncSegment: &syncSegment{}}
		p.one = p.director(t, "10.99.0.1", syncedRules, SyncConfig{Key: []byte("0123456789abcdef")})
		p.daemon(p.one, "master")
		p.daemon(p.one, "backup")
		p.set(func(s *syncSegment) { s.seen = nil })
		p.one.open(client1, "10.2.0.1:80")
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack, 1000, 5001, ""))
		p.settle()
		p.set(func(s *syncSegment) {
			for _, b := range s.seen {
				s.receivers[len(s.receivers)-1].in <- sentDatagram{b, netip.MustParseAddr("10.99.0.66")}
			}
		})
		p.settle()
		all := p.one.fw.Counters()
		if all["sync-entries-taken"] != 0 || all["sync-refused-replayed"] == 0 {
			t.Errorf("%d entries were taken, %d datagrams refused", all["sync-entries-taken"], all["sync-refused-replayed"])
		}
	})
}

// A dry run knows what a backup leaves to the host.
func TestADryRunKnowsThatABackupRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, oneByNAT)
		w, err := p.two.fw.twinFor(seg(t, 1, client1, "10.2.0.1:80", syn, ""), p.two.fw.links.Load().byIndex(1))
		mustDo(t, err)
		defer w.close()
		if !w.sync.backup.Load() {
			t.Error("the twin has no backup")
		}
	})
}

// However many masters there were, a new one is heard.
func TestABackupForgetsTheOldestMaster(t *testing.T) {
	p := backupPort{masters: map[netip.Addr]*heardMaster{}, backup: &syncBackup{}}
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 1, byte(i)}) }
	for i := range maxMasters + 1 {
		p.beacon(connsync.Beacon{Kind: connsync.Have, Sender: uint64(i + 1)}, addr(i), 7)
	}
	if p.masters[addr(0)] != nil || p.masters[addr(maxMasters)] == nil || len(p.masters) != maxMasters {
		t.Errorf("%d masters are known, the first: %v, the last: %v", len(p.masters), p.masters[addr(0)], p.masters[addr(maxMasters)])
	}
}

// set changes the segment.
func (s *syncSegment) set(change func(*syncSegment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// What a master cannot send waits, and how long for can be seen.
func TestWhatAMasterHasYetToSendIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, syncedRules)
		queue := func() (datagrams, micros uint64) {
			all := p.one.fw.Counters()
			return all["sync-queue"], all["sync-lag-us"]
		}
		if n, lag := queue(); n != 0 || lag != 0 {
			t.Errorf("at first %d datagrams wait for %d us", n, lag)
		}
		p.set(func(s *syncSegment) { s.stalled = true })
		for i := range 400 {
			client := fmt.Sprintf("172.16.0.9:%d", 1000+i)
			p.one.open(client, "10.2.0.1:80")
			p.one.send(1, at(t, 1, client, "10.2.0.1:80", ack, 1000, 5001, ""))
		}
		time.Sleep(time.Second)
		if n, lag := queue(); n < 5 || lag < 500_000 {
			t.Errorf("with a link that takes nothing %d datagrams wait for %d us", n, lag)
		}
		p.set(func(s *syncSegment) { s.stalled = false })
		time.Sleep(time.Second)
		if n, lag := queue(); n != 0 || lag != 0 {
			t.Errorf("when it takes them again %d datagrams wait for %d us", n, lag)
		}
	})
}

// Before a master has looked for the first time, what waits has not waited for longer than the
// master lives.
func TestANewMasterHasNoLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newMaster(t, syncedRules)
		m := p.one.fw.sync.newMaster(p.one.fw.sync.master.Load().daemon)
		r := m.ring()
		r.add(make([]byte, 40), 0, 0)
		r.publish()
		if n, lag := m.queue(); n == 0 || lag != 0 {
			t.Errorf("%d datagrams wait for %v", n, lag)
		}
	})
}
