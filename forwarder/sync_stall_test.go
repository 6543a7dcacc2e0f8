package forwarder

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
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
		first := p.one.fw.sync.master.Load().ports[0].conn
		p.set(func(s *syncSegment) { s.fail = syscall.EINVAL })
		p.one.open(client1, "10.2.0.1:80")
		p.one.send(1, at(t, 1, client1, "10.2.0.1:80", ack, 1000, 5001, ""))
		time.Sleep(10 * beaconEvery)
		p.set(func(s *syncSegment) { s.fail = nil })
		time.Sleep(2*bulkRest + 3*beaconEvery)
		p.expectEqual("after it could send again")
		lost, back := strings.Count(log.String(), "sync-interface-lost"), strings.Count(log.String(), "sync-interface-back")
		if lost != 1 || back != 1 {
			t.Errorf("it was told of %d times, and of the end %d times:\n%s", lost, back, log.String())
		}
		synctest.Wait()
		if p.one.fw.sync.master.Load().ports[0].conn == first {
			t.Error("it is the same socket")
		}
	})
}

// set changes the segment.
func (s *syncSegment) set(change func(*syncSegment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}
