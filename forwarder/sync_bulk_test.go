package forwarder

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// With backup_only a backup leaves packets of services to the host, which may be a real
// server of the active director.
func TestWithBackupOnlyABackupForwardsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSynced(t, oneByNAT)
		p.two.sysctl("backup_only", 1)
		out := func() int { return len(p.two.send(1, at(t, 1, client1, "10.2.0.1:80", syn, 999, 0, ""))) }
		if n := out(); n != 0 || p.two.fw.conns.Len() != 0 {
			t.Errorf("the backup sent %d packets and has %d connections", n, p.two.fw.conns.Len())
		}
		p.two.ipvsadm("--stop-daemon backup")
		if n := out(); n != 1 {
			t.Errorf("without the daemon it sent %d packets", n)
		}
	})
}

// A million connections reach a backup that comes late within 10 s.
func TestAMillionConnectionsReachALateBackup(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	synctest.Test(t, func(t *testing.T) {
		const all = 1_000_000
		p := &syncSegment{forget: true}
		director := func(addr, state string) *testbed {
			b := newTestbedWith(t, oneByNAT, Config{MaxConns: all + 10, Sync: SyncConfig{Net: p.at(addr)}})
			b.fw.MTU = func(string) (int, error) { return 1500, nil }
			ctx, cancel := context.WithCancel(t.Context())
			b.fw.sync.begin(ctx)
			t.Cleanup(func() { b.fw.sync.stop(); cancel() })
			if state == "master" {
				b.fill(all)
			}
			mustDo(t, b.fw.StartDaemon(config.Daemon{State: config.DaemonState(state), Interface: "s"}))
			return b
		}
		director("10.99.0.1", "master")
		time.Sleep(12 * time.Second) // until it has sent all to nobody
		began := time.Now()
		two := director("10.99.0.2", "backup")
		for two.fw.conns.Len() < all && time.Since(began) < time.Minute {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if took, n := time.Since(began), two.fw.conns.Len(); took > 10*time.Second || n != all {
			t.Errorf("%d connections after %v", n, took)
		}
	})
}

// fill inserts established connections to the first server.
func (b *testbed) fill(n int) {
	b.t.Helper()
	r := b.fw.conns.Reader()
	defer r.Close()
	r.Enter()
	defer r.Exit()
	virtual := netip.MustParseAddr("10.2.0.1").As16()
	now := b.fw.now()
	var s = b.fw.Load().Service(b.fw.Services()[0].Key).Servers[0]
	for i := range n {
		client := netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)}).As16()
		f := frame.MakeFlow(frame.ProtoTCP, &client, &virtual, 1000, 80)
		c := conntrack.Make(&f, s.RefMethod(), 0)
		c.Server, c.Real, c.RealPort = s.ID, s.Addr.Addr().As16(), 80
		s.Count(0, 1, 0)
		kept, ok := r.Insert(&c, now)
		if !ok {
			b.t.Fatalf("connection %d", i)
		}
		b.fw.conns.Update(kept, conntrack.Report{State: conntrack.TCPEstablished, Inactive: true, Timeout: 9000, Packets: 4}, now)
	}
}
