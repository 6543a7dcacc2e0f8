package neigh

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"uvs/forwarder/frame"
	"uvs/internal/nstest"
)

// lockedLog is a log that a test may read while others write.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedLog) lines(with string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), with)
}

// A flap of a whole routing table may be more than the socket has room for.
func TestAnOverrunOfNetlinkLosesNoChange(t *testing.T) {
	_, host := pair(t)
	var log lockedLog
	d := direct(t, host, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := d.kernel.(*rtnetlink).news.SetReceiveBufferSize(1, false); err != nil {
		t.Fatal(err)
	}
	last := 0
	nstest.Eventually(t, "the socket overruns", func() bool {
		host.Do(func() error {
			for range 500 {
				last++
				_, dst, _ := net.ParseCIDR(fmt.Sprintf("20.%d.%d.0/24", last>>8&0xff, last&0xff))
				if err := netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP("10.0.0.9")}); err != nil {
					return err
				}
			}
			return nil
		})
		return log.lines("faster than netlink tells") > 0
	})
	for i := 1; i <= last; i++ {
		dst := netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 1})
		nstest.Eventually(t, fmt.Sprintf("the route to %v is known", dst), func() bool {
			h, v := d.Lookup(dst)
			return v == frame.Continue && h.Gateway == ip("10.0.0.9")
		})
	}
	if n := log.lines("faster than netlink tells"); n != 1 {
		t.Errorf("%d lines in the log about it, want 1", n)
	}
}
