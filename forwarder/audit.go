package forwarder

import (
	"slices"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

const (
	// auditFor is how long Accounts waits for a moment at which everything that an account
	// consists of can be read, and auditPause how long between two tries. Under load a
	// batch takes some 50 µs.
	auditFor   = 2 * time.Second
	auditPause = 300 * time.Microsecond
)

// Accounts returns what became of the frames of each receive queue, and of those that
// are closed, each as of one moment. In each, Received is the sum of the rest unless
// a frame was lost or counted twice: then Difference is not 0.
func (fw *Forwarder) Accounts() []config.Account {
	fw.accounts.mu.Lock()
	fw.accounts.sweep()
	all, past := slices.Clone(fw.accounts.all), fw.accounts.past
	fw.accounts.mu.Unlock()
	list := []config.Account{}
	for _, a := range all {
		if a != nil {
			list = append(list, fw.audit(a))
		}
	}
	if past.received > 0 {
		list = append(list, past.account("closed"))
	}
	return list
}

// audit reads an account until all parts of it are from one moment and agree, or time
// is up.
func (fw *Forwarder) audit(a *account) (found config.Account) {
	for began := time.Now(); ; time.Sleep(auditPause) {
		e, still := fw.look(a)
		if still {
			found = e
		}
		if still && e.Difference == 0 || time.Since(began) > auditFor {
			return found
		}
	}
}

// look reads an account once. It reports whether nothing changed meanwhile.
func (fw *Forwarder) look(a *account) (e config.Account, still bool) {
	s := a.read()
	e = s.account(a.name)
	if s.outside.waiting() > 0 {
		e.Waiting.Neighbour = fw.waitForNeighbour(a.number)
		e.Waiting.Guard = fw.guardQueue.waiting(a.number)
		e.Waiting.Server = fw.openings.waiting(a.number)
	}
	e.InBatch = a.portReceived(s.received) - s.received
	e.Received += e.InBatch
	e.Difference = e.Missing()
	if e.Difference == 0 && e.InBatch > batchSize {
		e.Difference = int64(e.InBatch)
	}
	now := a.read()
	return e, now == s
}

// account puts what was said in the form of the API.
func (s *statement) account(name string) config.Account {
	e := config.Account{Port: name, Received: s.received, Outcomes: map[string]uint64{}}
	for v := range s.verdicts {
		if n := s.outcome(frame.Verdict(v)); n > 0 {
			e.Outcomes[frame.Verdict(v).String()] = n
		}
	}
	e.Waiting.Fragments = s.fragments
	e.Difference = e.Missing()
	return e
}

// portReceived returns how many frames the port says that it handed out, or counted if
// it does not say.
func (a *account) portReceived(counted uint64) uint64 {
	if p, ok := a.port.(port.Counter); ok {
		if n, ok := p.Counters()["received"]; ok {
			return n
		}
	}
	return counted
}

// queues is a Neighbours that shows the frames which wait there.
type queues interface {
	Waiting(f func(*frame.Frame))
}

func (fw *Forwarder) waitForNeighbour(account uint16) (n uint64) {
	if w, ok := fw.neigh.(queues); ok {
		w.Waiting(func(f *frame.Frame) {
			if f.Account == account {
				n += uint64(f.Counts)
			}
		})
	}
	return n
}
