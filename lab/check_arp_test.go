package lab

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Frames that are no answer come without end, as under load.
func TestAQuestionEndsAtItsDeadlineWhateverElseComes(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	q := &resolution{tap: &tap{os.NewFile(uintptr(fds[0]), "tap"), "client"}, about: netip.MustParseAddr("10.0.0.100")}
	defer q.close()
	traffic := os.NewFile(uintptr(fds[1]), "traffic")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := traffic.Write(make([]byte, 60)); err != nil {
				return
			}
		}
	}()
	if err := q.collect(time.Now().Add(20 * time.Millisecond)); err != nil || len(q.who) != 0 {
		t.Errorf("%v answer, %v", q.who, err)
	}
	traffic.Close()
	<-ended
}
