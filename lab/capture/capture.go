// Package capture reads the frames of a running lab: what its nodes send and receive on
// their links. It needs no privilege but that of owning the lab, whose supervisor makes the
// packet sockets; so it works for a plain user, where tcpdump refuses. It is a reader only:
// a frame that it does not read in time is missed and counted, and never held up.
package capture

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/lab"
)

// Capture reads frames of some links. It belongs to one goroutine.
type Capture struct {
	links   []Link
	taps    []*tap
	end     *os.File // a pidfd of the lab's supervisor
	wake    [2]*os.File
	reader  *os.File // whoever reads what is made of the frames
	room    []byte
	waiting []Frame
}

// Count is how many frames of a link were read, and how many were missed because they came
// faster than they were read, or had an offload that the kernel cannot describe.
type Count struct {
	Link         Link
	Read, Missed uint64
}

// ErrReaderGone is returned by [Capture.Run] when the reader of the output has gone.
var ErrReaderGone = errors.New("the reader has gone")

// Open begins to capture on links of a lab. Frames have at most snap bytes, from the
// Ethernet header on; 0 is whole frames. The caller closes the capture.
func Open(l *lab.Lab, links []Link, snap int) (*Capture, error) {
	if snap <= 0 || snap > frame.MaxLen {
		snap = frame.MaxLen
	}
	c := &Capture{room: make([]byte, frame.OffloadLen+snap)}
	var err error
	if c.end, err = l.Lifeline(); err != nil {
		return nil, err
	}
	if c.wake[0], c.wake[1], err = os.Pipe(); err != nil {
		c.Close()
		return nil, err
	}
	c.links = links
	if c.taps, err = openAll(l, links); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the capture.
func (c *Capture) Close() {
	closeTaps(c.taps)
	for _, f := range []*os.File{c.end, c.wake[0], c.wake[1]} {
		if f != nil {
			f.Close()
		}
	}
}

// EndWith ends [Capture.Run] when the reader of a pipe has gone.
func (c *Capture) EndWith(pipe *os.File) { c.reader = pipe }

// Counts returns what was read so far, link by link.
func (c *Capture) Counts() (all []Count) {
	for i := range c.links {
		all = append(all, Count{Link: c.links[i]})
	}
	for _, t := range c.taps {
		t.count()
		for i := range all {
			if all[i].Link == *t.link || t.far != nil && all[i].Link == *t.far {
				all[i].Read, all[i].Missed = all[i].Read+t.read, all[i].Missed+t.missed
			}
		}
	}
	return all
}

// settle is how long after a frame another one with an earlier time may be read: the kernel
// takes the time before it queues the frame.
const settle = 10 * time.Millisecond

// Run calls f with the frames in the order of their times, and with the moment up to which
// all frames have come, at least every tick. It returns nil when ctx or the lab ends, once
// the last frames were handed over; otherwise the error of f, or ErrReaderGone.
func (c *Capture) Run(ctx context.Context, tick time.Duration, f func(frames []Frame, until time.Time) error) error {
	stop := context.AfterFunc(ctx, func() { _, _ = c.wake[1].Write([]byte{0}) })
	defer stop()
	for {
		wait := tick
		if len(c.waiting) > 0 {
			wait = min(wait, settle)
		}
		ended, err := c.await(wait)
		if err != nil {
			return err
		}
		until, err := c.read()
		if err != nil {
			return err
		}
		if ended || ctx.Err() != nil {
			return f(c.take(time.Now()), time.Now())
		}
		if err := f(c.take(until), until); err != nil {
			return err
		}
	}
}

// await waits for a frame, and reports whether the capture has to end.
func (c *Capture) await(wait time.Duration) (ended bool, err error) {
	fds := []unix.PollFd{
		{Fd: int32(c.end.Fd()), Events: unix.POLLIN},
		{Fd: int32(c.wake[0].Fd()), Events: unix.POLLIN},
	}
	if c.reader != nil {
		fds = append(fds, unix.PollFd{Fd: int32(c.reader.Fd())}) // POLLERR comes unasked
	}
	first := len(fds)
	for _, t := range c.taps {
		fds = append(fds, unix.PollFd{Fd: int32(t.fd), Events: unix.POLLIN})
		if t.full {
			wait = 0
		}
	}
	if _, err := unix.Poll(fds, int(wait.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return false, os.NewSyscallError("poll", err)
	}
	if first > 2 && fds[2].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
		return false, ErrReaderGone
	}
	return fds[0].Revents != 0 || fds[1].Revents != 0, nil
}

// read reads all sockets, and returns the moment before which no more frames will come.
func (c *Capture) read() (until time.Time, err error) {
	until = time.Now().Add(-settle)
	for _, t := range c.taps {
		if err := t.drain(c.room, func(f Frame) { c.waiting = append(c.waiting, f) }); err != nil {
			return until, err
		}
		if t.full && t.newest.Before(until) {
			until = t.newest
		}
	}
	slices.SortStableFunc(c.waiting, compare)
	return until, nil
}

// compare orders frames by time. Of two ends of one cable the kernel says the same time.
func compare(a, b Frame) int {
	if c := a.Time.Compare(b.Time); c != 0 || a.Out == b.Out {
		return c
	}
	if a.Out {
		return -1
	}
	return 1
}

// take returns the frames up to a moment, and keeps the others.
func (c *Capture) take(until time.Time) []Frame {
	n, _ := slices.BinarySearchFunc(c.waiting, until, func(f Frame, at time.Time) int {
		if f.Time.After(at) {
			return 1
		}
		return -1
	})
	frames := c.waiting[:n:n]
	c.waiting = slices.Clone(c.waiting[n:])
	return frames
}
