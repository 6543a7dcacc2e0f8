package forwarder

import (
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/sysctl"
)

// syncMark is what a master remembers of an entry that it has sent: when it would expire
// by that (low 32 bits), how often it was repeated (2 bits), and in which state it was.
type syncMark = uint64

const (
	markRepeatsShift = 32
	markStateShift   = 40
)

func syncMarkOf(end conntrack.Tick, repeats uint64, state conntrack.State) syncMark {
	return uint64(end) | repeats<<markRepeatsShift | uint64(state)<<markStateShift
}

// States of TCP and SCTP in which connections are sent, a bit each (ip_vs_sync.c,
// ip_vs_sync_conn_needed).
const (
	tcpSynced = 1<<conntrack.TCPEstablished | 1<<conntrack.TCPFinWait | 1<<conntrack.TCPClose |
		1<<conntrack.TCPCloseWait | 1<<conntrack.TCPTimeWait
	sctpSynced = 1<<conntrack.SCTPEstablished | 1<<conntrack.SCTPShutdownSent | 1<<conntrack.SCTPShutdownReceived |
		1<<conntrack.SCTPShutdownAckSent | 1<<conntrack.SCTPClosed
)

// syncable reports whether connections of the state are sent at all, and whether it is the
// established one of a protocol that has others.
func syncable(proto uint8, s conntrack.State) (ok, established, states bool) {
	switch proto {
	case frame.ProtoTCP:
		return tcpSynced>>s&1 != 0, s == conntrack.TCPEstablished, true
	case frame.ProtoSCTP:
		return sctpSynced>>s&1 != 0, s == conntrack.SCTPEstablished, true
	}
	return true, false, false
}

// syncDue decides whether a packet makes a master send its entry, and notes that in the
// mark. packets is how many the entry has had (ip_vs_sync.c, ip_vs_sync_conn_needed):
//
//   - A connection that is about to end is sent at once, so that backups do not keep it.
//   - With sync_refresh_period, one that would not expire much later than was said is not.
//   - Else the number of its packets decides, by sync_threshold.
//
// A packet of an established connection is mostly decided by its number alone, without the
// memory of the mark. fresh says that the mark may be of the connection that had the entry's
// place before.
func syncDue(at *atomic.Uint64, fresh bool, c *conntrack.Conn, packets uint32, now conntrack.Tick, p *sysctl.Values) bool {
	template, state := c.Has(conntrack.Template), c.State()
	byNumber := onThreshold(packets, template, p)
	turned := false
	if !template {
		ok, established, states := syncable(c.Proto(), state)
		if !ok {
			return false
		}
		if established && !byNumber || !states && !byNumber {
			return false
		}
		turned = states && !established
	}
	mark := syncMark(0)
	if !fresh {
		mark = at.Load()
	}
	changed := !template && conntrack.State(mark>>markStateShift) != state
	end := now + c.Timeout()
	repeats := uint64(0)
	if !turned || !changed {
		if !byNumber {
			return false
		}
		if p.SyncRefreshPeriod > 0 {
			if n, ok := refreshes(mark, end, c.Timeout(), now, p); ok {
				repeats = n
			} else {
				return false
			}
		}
	}
	if fresh { // nobody else has had a packet of it
		at.Store(syncMarkOf(end, repeats, state))
		return true
	}
	return at.CompareAndSwap(mark, syncMarkOf(end, repeats, state)) || changed
}

// onThreshold reports whether the number of a packet is one with which an entry is sent.
// With a period, any is for a template.
func onThreshold(packets uint32, template bool, p *sysctl.Values) bool {
	threshold, period := uint32(p.SyncThreshold[0]), uint32(p.SyncThreshold[1])
	switch {
	case period > 0:
		return template || packets%period == threshold
	case p.SyncRefreshPeriod > 0:
		return true
	}
	return packets == threshold
}

// refreshes applies sync_refresh_period and sync_retries: an entry whose end has moved by
// less than the period, or half of its timeout, is only repeated.
func refreshes(mark syncMark, end, timeout, now conntrack.Tick, p *sysctl.Values) (repeats uint64, ok bool) {
	said := conntrack.Tick(uint32(mark))
	moved := int64(end) - int64(said)
	period := int64(p.SyncRefreshPeriod) * conntrack.TicksPerSecond
	least := min(period, max(int64(timeout)/2, 10*conntrack.TicksPerSecond))
	if moved >= least || -moved >= least {
		return 0, true
	}
	repeats = mark >> markRepeatsShift & 3
	if repeats >= uint64(p.SyncRetries) || int64(now) < int64(said)-int64(timeout)+period/8 {
		return 0, false
	}
	return repeats + 1, true
}
