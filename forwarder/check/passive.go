package check

import (
	"fmt"
	"time"

	"uvs/forwarder/config"
)

// A passive check asks nothing. It compares how many new connections a server got with how
// many of them were refused or stayed without an answer, from one interval to the next. A
// server that is held gets none, so there is nothing to see of it: it is tried again after
// a while, which doubles each time that it fails again at once.

// sight is what a passive check has seen.
type sight struct {
	began    bool
	refusals config.Refusals // at the last look
	conns    uint64          // at the last look
	fresh    uint64          // new connections in the interval before that
	failed   uint64          // and how many failed in it
	tries    int             // how often the server was tried again without a good interval
	until    time.Time       // when it is tried again
}

// mostDoubled bounds how often the time until a server is tried again doubles.
const mostDoubled = 6

// look compares the counters with those of the last look, and reports whether the server
// has become up or down by it.
func (p *prober) look(probe *Probe) bool {
	now, conns, err := p.group.runner.table.RefusalsOf(probe.Key, probe.Server.AddrPort())
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.seen
	more, fresh := now.Since(s.refusals), conns-s.conns
	before, failing, failed := s.fresh, s.failed > 0, more.Sum()
	first := !s.began
	s.began, s.refusals, s.conns, s.fresh, s.failed = true, now, conns, fresh, failed
	was := p.status
	switch {
	case first:
		if was == down {
			s.until = time.Now() // held by an earlier director: it is tried now
		}
		return false
	case was == down:
		p.tryAgain()
	case failed == 0 && (before == 0 || failing): // nothing new, or the rest of a bad interval
	case failed == 0:
		p.sees(true, fmt.Sprintf("no refusals of %d new connections", before))
		p.status, p.bad, s.tries = up, 0, 0
	case 2*failed >= before+fresh:
		p.sees(false, fmt.Sprintf("of %d new connections %d repeated their SYN, %d were reset, %d had an ICMP error",
			before+fresh, more.NoReply, more.Resets, more.Unreachable))
		if p.bad++; p.bad >= int(p.probe.Check.Fall) {
			p.status = down
			s.until = time.Now().Add(p.pause() << min(s.tries, mostDoubled))
			s.tries++
		}
	}
	if p.status == was {
		return false
	}
	p.since = time.Now()
	p.tell(was)
	return true
}

// tryAgain gives a server that is down connections again when it is time: one more bad
// interval ends that.
func (p *prober) tryAgain() {
	if time.Now().Before(p.seen.until) {
		return
	}
	p.status, p.bad = unknown, int(p.probe.Check.Fall)-1
}

// pause is how long a server is down at first.
func (p *prober) pause() time.Duration {
	c := p.probe.Check
	return time.Duration(c.Interval) * time.Millisecond * time.Duration(c.Rise)
}

// sees notes what was seen in an interval.
func (p *prober) sees(good bool, what string) {
	p.last = Answer{VIP: config.ProbeResult{OK: good, Answer: what}}
	p.vip.count(&p.last.VIP)
	p.asked = true
}
