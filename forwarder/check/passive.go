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
	refusals config.Refusals // at the last verdict
	conns    uint64          // at the last look
	fresh    uint64          // new connections in the interval before that, or since the last verdict
	failing  bool            // some failed at the last verdict
	tries    int             // how often the server was tried again without a good interval
	until    time.Time       // when it is tried again
}

// leastConns is how many new connections a verdict needs: fewer are put together with
// those of the next interval.
const leastConns = 5

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
	before, fresh := s.conns, conns-s.conns
	s.conns = conns
	was := p.status
	switch {
	case !s.began, conns < before: // a server anew has counters anew
		s.began, s.refusals, s.fresh, s.failing = true, now, 0, false
		if was == down {
			s.until = time.Now() // held by an earlier director: it is tried now
		}
		return false
	case was == down:
		s.refusals, s.fresh, s.failing = now, fresh, false
		p.tryAgain()
	default:
		p.judge(fresh, now)
	}
	if p.status == was {
		return false
	}
	p.since = time.Now()
	p.tell(was)
	return true
}

// judge judges an interval with so many new connections, if there were enough of them. The
// caller holds mu.
func (p *prober) judge(fresh uint64, now config.Refusals) {
	s := &p.seen
	more, before, all := now.Since(s.refusals), s.fresh, s.fresh+fresh
	failed, failing := more.Sum(), s.failing
	switch {
	case failed == 0 && failing: // the rest of a bad interval
	case all < leastConns, failed == 0 && before < leastConns:
		s.fresh, s.failing = all, false
		return
	case failed == 0:
		p.sees(true, fmt.Sprintf("no refusals of %d new connections", before))
		p.status, p.bad, s.tries = up, 0, 0
	case 2*failed >= all:
		p.sees(false, fmt.Sprintf("of %d new connections %d repeated their SYN, %d were reset, %d had an ICMP error",
			all, more.NoReply, more.Resets, more.Unreachable))
		if p.bad++; p.bad >= int(p.probe.Check.Fall) {
			p.status = down
			s.until = time.Now().Add(p.pause() << min(s.tries, mostDoubled))
			s.tries++
		}
	}
	s.refusals, s.fresh, s.failing = now, fresh, failed > 0
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
