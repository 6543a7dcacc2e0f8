package forwarder

import (
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// beat is a Port that delivers one frame every period, and waits in the network poller in
// between, as a real port does. It records how late each frame was finished.
type beat struct {
	void
	timer   *os.File
	next    func() []frame.Frame
	planned time.Duration // on the monotonic clock, of the last frame
	oldest  time.Duration // of the first of those that came together
	used    time.Duration // processor time of the process when the one before was done

	mu    sync.Mutex
	late  []time.Duration
	ours  []time.Duration // the part of late in which this process worked, at most
	count bool
}

const beatPeriod = time.Millisecond

func newBeat(t *testing.T, next func() []frame.Frame) *beat {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		t.Skip("no timerfd:", err)
	}
	b := &beat{timer: os.NewFile(uintptr(fd), "timer"), next: next, planned: monotonic()}
	each := unix.NsecToTimespec(int64(beatPeriod))
	spec := unix.ItimerSpec{Interval: each, Value: unix.NsecToTimespec(int64(b.planned + beatPeriod))}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

func worked() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

func (b *beat) Recv(fs []frame.Frame) (int, error) {
	b.note()
	var ticks [8]byte
	if _, err := b.timer.Read(ticks[:]); err != nil {
		return 0, net.ErrClosed
	}
	b.oldest = b.planned + beatPeriod
	b.planned += beatPeriod * time.Duration(binary.NativeEndian.Uint64(ticks[:]))
	return copy(fs, b.next()), nil
}

func (b *beat) note() {
	late, used := monotonic()-b.oldest, worked()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count {
		b.late, b.ours = append(b.late, late), append(b.ours, min(late, used-b.used))
	}
	b.used = used
}

// take returns what was recorded since the last call.
func (b *beat) take() (late, ours []time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	late, ours = b.late, b.ours
	b.late, b.ours, b.count = nil, nil, true
	slices.Sort(late)
	slices.Sort(ours)
	return late, ours
}

func (b *beat) Close() error { return b.timer.Close() }

// TestExpiryDoesNotDelayPackets sends a packet every millisecond to a worker that shares
// Go's only processor with the expiry of many connections, and logs how late each was
// finished. The verdict does not depend on the wall clock, as the machine may be busy: it
// is how often the worker ran per processor time used. With an expiry that merely yields
// that is once in 10 ms.
func TestExpiryDoesNotDelayPackets(t *testing.T) {
	n := 1 << 18
	if testing.Short() {
		n = 1 << 16
	}
	c := newCourse(t, 4, sched.Masq, "wlc", n+4096)
	for i := 0; i < n; i += batchSize {
		c.w.batch(c.load(i, n))
	}
	c.fw.started = c.fw.started.Add(-time.Hour) // all are due
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	port := newBeat(t, func() []frame.Frame { return c.load(0, n)[:1] })
	w := c.fw.newWorker(clientLink, 0, port)
	var wg sync.WaitGroup
	wg.Go(w.run)
	time.Sleep(10 * beatPeriod)
	port.take()
	time.Sleep(300 * time.Millisecond)
	late, ours := port.take()
	say(t, "while nothing expires", late, ours)
	began, before := time.Now(), worked()
	c.fw.expire(t.Context())
	took, work := time.Since(began), worked()-before
	late, ours = port.take()
	port.Close()
	wg.Wait()
	if left := c.fw.conns.Len(); left > 1 {
		t.Errorf("%d connections are left", left)
	}
	t.Logf("%d connections expired in %v, %v of work", n, took, work)
	say(t, "meanwhile", late, ours)
	if turns := len(late); time.Duration(turns)*beatPeriod < work {
		t.Errorf("the worker had its turn %d times in %v of work, want once a millisecond", turns, work)
	}
}

func say(t *testing.T, when string, late, ours []time.Duration) {
	if len(late) == 0 {
		t.Logf("%s: no packet", when)
		return
	}
	at := func(d []time.Duration, p int) time.Duration {
		return d[min(len(d)-1, len(d)*p/1000)].Round(time.Microsecond)
	}
	t.Logf("%s: %d packets late by p50 %v, p99 %v, most %v; by our own work p50 %v, p99 %v, most %v", when, len(late),
		at(late, 500), at(late, 990), at(late, 1000), at(ours, 500), at(ours, 990), at(ours, 1000))
}
