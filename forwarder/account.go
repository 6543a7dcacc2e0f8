package forwarder

import (
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

// account says what became of the frames that one receive queue received. Each ends
// with one verdict. Until then it is in its worker's hands, as part of a batch or as a
// fragment, or it waits outside: for its next hop's MAC address or for the guard.
type account struct {
	name   string
	number uint16 // see frame.Frame.Account
	port   port.Port

	*portFigures
	base      statement // what the ledger said when the account was opened
	basePort  [portCounts]uint64
	fragments atomic.Uint64 // that wait for others

	mu     sync.Mutex // guards begun and ended
	closed bool
}

// ledger is what an account has counted, and those before it with the same number. It
// is where the next process finds it.
type ledger struct {
	// What the worker publishes at the end of a batch. While it does, received has the
	// bit changing set: what was read meanwhile does not belong together.
	received *atomic.Uint64
	verdicts [frame.Verdicts]*atomic.Uint64 // of Queued: all that were to wait outside

	// What is told of frames that wait outside, as in tally.
	begun *atomic.Uint64
	ended [frame.Verdicts]*atomic.Uint64
}

const changing = 1 << 63

// tally is what became of frames that waited outside of their worker.
type tally struct {
	begun uint64
	ended [frame.Verdicts]uint64 // of Queued: sent
}

// add publishes a batch. Only the account's worker calls it.
func (a *account) add(received uint64, verdicts *[frame.Verdicts]uint64, fragments uint64) {
	received += a.received.Load()
	a.received.Store(received | changing)
	for v, n := range verdicts {
		if n != 0 {
			a.verdicts[v].Store(a.verdicts[v].Load() + n)
			verdicts[v] = 0
		}
	}
	if a.fragments.Load() != fragments {
		a.fragments.Store(fragments)
	}
	a.received.Store(received)
}

// wait notes a frame that will wait outside, unless it is one made here.
func (a *account) wait(f *frame.Frame) {
	f.Account = a.number
	if f.Counts == 0 {
		return
	}
	a.mu.Lock()
	a.begun.Add(uint64(f.Counts))
	a.mu.Unlock()
}

// unwait takes back wait: there was no room for the frame.
func (a *account) unwait(f *frame.Frame) {
	if f.Counts == 0 {
		return
	}
	a.mu.Lock()
	a.begun.Add(-uint64(f.Counts))
	a.mu.Unlock()
}

func (a *account) end(v frame.Verdict, n uint16) {
	a.mu.Lock()
	a.ended[v].Add(uint64(n))
	a.mu.Unlock()
}

// statement is what an account, or several, said at one moment.
type statement struct {
	received  uint64
	verdicts  [frame.Verdicts]uint64
	fragments uint64
	outside   tally
}

// read returns what the account says at one moment, but what waits outside may be some
// frames ahead of the rest.
func (a *account) read() statement {
	s := a.whole()
	s.subtract(&a.base)
	return s
}

// whole is read with what the accounts before it with the same number have said.
func (a *account) whole() (s statement) {
	for {
		s.received = a.received.Load()
		for v := range a.verdicts {
			s.verdicts[v] = a.verdicts[v].Load()
		}
		s.fragments = a.fragments.Load()
		if s.received&changing == 0 && a.received.Load() == s.received {
			break
		}
		runtime.Gosched()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.outside.begun = a.begun.Load()
	for v := range a.ended {
		s.outside.ended[v] = a.ended[v].Load()
	}
	return s
}

// outcome returns how many frames ended with a verdict.
func (s *statement) outcome(v frame.Verdict) uint64 {
	if v == frame.Queued {
		return s.outside.ended[v]
	}
	return s.verdicts[v] + s.outside.ended[v]
}

// add adds what another account said.
func (s *statement) add(o *statement) {
	s.received += o.received
	s.fragments += o.fragments
	s.outside.begun += o.outside.begun
	for v := range s.verdicts {
		s.verdicts[v] += o.verdicts[v]
		s.outside.ended[v] += o.outside.ended[v]
	}
}

// subtract takes away what was said before.
func (s *statement) subtract(o *statement) {
	s.received -= o.received
	s.outside.begun -= o.outside.begun
	for v := range s.verdicts {
		s.verdicts[v] -= o.verdicts[v]
		s.outside.ended[v] -= o.outside.ended[v]
	}
}

// waiting returns how many frames wait.
func (t *tally) waiting() uint64 {
	n := t.begun
	for _, ended := range t.ended {
		n -= ended
	}
	return n
}

// accounts are those of all receive queues.
type accounts struct {
	counter func(name string) *atomic.Uint64 // a counter that outlives the process
	made    *atomic.Uint64                   // frames made here that were not sent

	mu    sync.RWMutex
	all   []*account     // by number, nil where the number is free
	past  statement      // of queues that are closed
	ports []*portFigures // by number, as far as there are any
}

// open opens the account of a receive queue.
func (s *accounts) open(link string, queue int, p port.Port) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	name := link + "/" + strconv.Itoa(queue)
	n := s.numberFor(name)
	for len(s.all) <= n {
		s.all = append(s.all, nil)
	}
	a := &account{name: name, number: uint16(n), port: p, portFigures: s.ports[n]}
	a.base = a.whole()
	a.basePort = a.portFigures.load()
	s.all[n] = a
	return a
}

// close is called when the account's worker has ended.
func (s *accounts) close(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.portCounters()
	a.closed = true
	s.sweep()
}

// sweep adds the closed accounts for which nothing waits to the past.
func (s *accounts) sweep() {
	for n, a := range s.all {
		if a == nil || !a.closed {
			continue
		}
		if said := a.read(); said.outside.waiting() == 0 {
			s.past.add(&said)
			s.all[n] = nil
		}
	}
}

// end notes what became of frames that waited outside or were made here.
func (s *accounts) end(v frame.Verdict, fs []frame.Frame) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range fs {
		switch f := &fs[i]; {
		case f.Counts > 0:
			s.all[f.Account].end(v, f.Counts)
		case v != frame.Queued:
			s.made.Add(1)
		}
	}
}

// sent notes which of the frames that waited outside, or were made here, were sent.
func (s *accounts) sent(fs []frame.Frame) {
	for i := range fs {
		v := frame.Queued
		if fs[i].Refused {
			v = frame.DropSend
		}
		s.end(v, fs[i:i+1])
	}
}

// sum returns what all accounts say together.
func (s *accounts) sum() statement {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := s.past
	for _, a := range s.all {
		if a != nil {
			said := a.read()
			all.add(&said)
		}
	}
	return all
}

// Dropped counts frames that waited for their next hop and were then dropped for a
// reason.
func (fw *Forwarder) Dropped(v frame.Verdict, frames []frame.Frame) {
	for i := range frames {
		if frames[i].Counts > 0 {
			fw.example(&frames[i], "", v, time.Since(fw.started))
		}
	}
	fw.accounts.end(v, frames)
}
