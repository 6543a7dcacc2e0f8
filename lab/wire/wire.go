package wire

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Wire carries frames between two interfaces: that of a node's cable, and one on the network
// that the node is on. One thread does all of it. Its methods are safe for concurrent use.
type Wire struct {
	name string
	ends [2]*end // the node's, the network's
	bell int     // an eventfd, which wakes the thread

	mu      sync.Mutex
	lines   [2]*line // from the node, to the node
	started bool
	closing bool
	ended   chan struct{} // closed when the thread has ended
}

// Both are the impairments of a link's two directions.
type Both struct {
	Out Impairment // from the node
	In  Impairment // to the node
}

// Open returns a wire between two interfaces of the calling thread's network namespace,
// given by their indices. It carries nothing before [Wire.Start]. What happens to frames
// follows from seed and name, which tells wires of one seed apart.
func Open(name string, node, network int, to Both, seed uint64) (*Wire, error) {
	w := &Wire{name: name, ended: make(chan struct{}), lines: [2]*line{{Impairment: to.Out}, {Impairment: to.In}}}
	w.seed(seed)
	var err error
	if w.ends[0], err = openEnd(node); err != nil {
		return nil, fmt.Errorf("wire %s: %w", name, err)
	}
	if w.ends[1], err = openEnd(network); err == nil {
		if w.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
			return w, nil
		}
		w.ends[1].close()
	}
	w.ends[0].close()
	return nil, fmt.Errorf("wire %s: %w", name, err)
}

// seed lets the dice begin anew. The caller holds the lock, or has the wire alone.
func (w *Wire) seed(seed uint64) {
	w.lines[0].dice, w.lines[1].dice = newDice(seed, w.name+" out"), newDice(seed, w.name+" in")
}

// Start lets the wire carry frames, from the next one on.
func (w *Wire) Start() error {
	for _, e := range w.ends {
		if err := e.bind(unix.ETH_P_ALL); err != nil {
			return fmt.Errorf("wire %s: %w", w.name, err)
		}
	}
	w.started = true
	go w.run()
	return nil
}

// Change gives the wire other impairments. A delay, a rate or a share of frames out of order
// that changes lets arrive at once what is under way.
func (w *Wire) Change(to Both) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return
	}
	now := time.Now()
	w.lines[0].change(now, to.Out)
	w.lines[1].change(now, to.In)
	w.ring()
}

// Reseed lets the row of random values begin anew, from another seed or the same.
func (w *Wire) Reseed(seed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seed(seed)
}

// Counters returns what was counted from the node and to it.
func (w *Wire) Counters() (out, in Counters) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range w.ends {
		if !w.closing {
			w.lines[i].count.Overrun += e.overrun()
		}
	}
	return w.lines[0].count, w.lines[1].count
}

// Close ends the wire. What is under way arrives at once.
func (w *Wire) Close() {
	w.mu.Lock()
	w.closing = true
	w.ring()
	w.mu.Unlock()
	if w.started {
		<-w.ended
	}
	for _, e := range w.ends {
		e.close()
	}
	unix.Close(w.bell)
}

func (w *Wire) ring() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.bell, one[:])
}

// run is the wire's thread. It has one of its own, because the runtime's timers are no finer
// than a millisecond while the process sleeps.
func (w *Wire) run() {
	defer close(w.ended)
	runtime.LockOSThread()                             // never unlocked: the thread ends with the goroutine
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // ns, instead of 50 µs
	fds := []unix.PollFd{{Fd: int32(w.ends[0].fd), Events: unix.POLLIN}, {Fd: int32(w.ends[1].fd), Events: unix.POLLIN},
		{Fd: int32(w.bell), Events: unix.POLLIN}}
	for {
		wait, more := w.turn(time.Now())
		if !more {
			break
		}
		_, _ = unix.Ppoll(fds, wait, nil)
		if fds[2].Revents != 0 {
			var rings [8]byte
			_, _ = unix.Read(w.bell, rings[:])
		}
	}
}

// turn receives what has come, sends what is due, and returns how long to wait for more; no
// limit if it is nil. It reports false when the wire has ended.
func (w *Wire) turn(now time.Time) (wait *unix.Timespec, more bool) {
	const batch = 32
	w.mu.Lock()
	defer w.mu.Unlock()
	busy := false
	for i, e := range w.ends {
		busy = e.receive(w.lines[i], batch) || busy
		if w.closing {
			w.lines[i].flush(now)
		}
	}
	if w.deliver(); w.closing {
		return nil, false
	}
	if busy {
		return &unix.Timespec{}, true
	}
	return w.wait(), true
}

// deliver sends what is due.
func (w *Wire) deliver() {
	now := time.Now()
	for i, l := range w.lines {
		for p := l.pop(now); p != nil; p = l.pop(now) {
			l.done(p, w.ends[1-i].send(p))
		}
	}
}

// wait returns how long it is to the next frame that is due.
func (w *Wire) wait() *unix.Timespec {
	var next *unix.Timespec
	for _, l := range w.lines {
		due, any := l.next()
		if !any {
			continue
		}
		t := unix.NsecToTimespec(max(0, int64(time.Until(due))))
		if next == nil || t.Nano() < next.Nano() {
			next = &t
		}
	}
	return next
}
