package forwarder

import (
	"maps"
	"strconv"
	"strings"

	"uvs/forwarder/frame"
	"uvs/forwarder/state"
)

// ledger returns the ledger with an account's number.
func (s *accounts) ledger(n int) *ledger {
	at := ledgerName(n)
	l := &ledger{received: s.counter(at + "received"), begun: s.counter(at + "waited")}
	for v := range l.verdicts {
		l.verdicts[v] = s.counter(at + frame.Verdict(v).String())
		l.ended[v] = s.counter(at + "waited/" + frame.Verdict(v).String())
	}
	return l
}

func ledgerName(n int) string { return "account/" + strconv.Itoa(n) + "/" }

// restore takes over what the accounts of an earlier process have said. What that one
// had at hand or waiting when it ended is lost, and counted as such.
func (s *accounts) restore(st *state.State) {
	s.counter = st.Counter
	s.made = st.Counter("made-dropped")
	was := st.Counters()
	for n := 0; ; n++ {
		if _, ok := was[ledgerName(n)+"received"]; !ok {
			return
		}
		p := s.newPortFigures(n)
		said := p.settle()
		s.past.add(&said)
		s.ports = append(s.ports, p)
	}
}

// settle balances the ledger of a process that has ended: it may have counted a part of
// its last batch.
func (l *ledger) settle() (s statement) {
	s.received = l.received.Load() &^ changing
	for v := range l.verdicts {
		s.verdicts[v], s.outside.ended[v] = l.verdicts[v].Load(), l.ended[v].Load()
	}
	ended := uint64(0)
	for v := range l.verdicts {
		ended += s.outcome(frame.Verdict(v))
	}
	if ended > s.received {
		s.received = ended
	} else {
		s.verdicts[frame.DropKilled] += s.received - ended
	}
	s.verdicts[frame.Queued], s.outside.begun = s.outside.ended[frame.Queued], 0
	for _, n := range s.outside.ended {
		s.outside.begun += n
	}
	l.verdicts[frame.DropKilled].Store(s.verdicts[frame.DropKilled])
	l.verdicts[frame.Queued].Store(s.verdicts[frame.Queued])
	l.begun.Store(s.outside.begun)
	l.received.Store(s.received)
	return s
}

// portPrefix begins the names of what ports count.
const portPrefix = "port-"

// restorePorts takes over what the ports of an earlier process have counted, as it was
// kept last.
func (fw *Forwarder) restorePorts() {
	for name, n := range fw.conf.State.Counters() {
		if strings.HasPrefix(name, portPrefix) {
			fw.counted[name] = n
		}
	}
}

// portCounters returns what all ports have counted, also those that are closed. They count in
// memory of their own or the kernel's, so a kill loses what nobody has seen: what is shown is
// kept first, and never goes back.
func (fw *Forwarder) portCounters() map[string]uint64 {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	all := maps.Clone(fw.counted)
	for i := range fw.queue {
		fw.queue[i].count(all)
	}
	if fw.conf.State != nil {
		for name, n := range all {
			fw.conf.State.Counter(name).Store(n)
		}
	}
	return all
}
