package sched

import (
	"net/netip"
	"sync/atomic"
)

// ID is the stable number of a real server within a director: never 0, and not
// reused while a connection refers to it.
type ID uint32

// RealServer is one real server of one service, shared by its scheduler and its
// connections. The exported fields do not change once the server is in use; the
// others are atomics. All methods are safe for concurrent use.
type RealServer struct {
	ID   ID
	Addr netip.AddrPort

	weight     atomic.Int32
	lastWeight atomic.Int32 // last weight other than 0, for mh
	upper      atomic.Uint32
	lower      atomic.Uint32
	active     atomic.Int32
	inactive   atomic.Int32
	persistent atomic.Int32
	overloaded atomic.Bool
	edits      atomic.Uint32 // number of edits so far; distinguishes an edit from a count in Scheduler.Update
}

// NewRealServer returns a server with the weight and connection thresholds of
// ipvsadm's -w, -x and -y; an upper threshold of 0 means none.
func NewRealServer(id ID, addr netip.AddrPort, weight int32, upper, lower uint32) *RealServer {
	s := &RealServer{ID: id, Addr: addr}
	s.SetWeight(weight)
	s.SetThresholds(upper, lower)
	return s
}

// Weight returns the weight; a server with weight 0 takes no new connections.
func (s *RealServer) Weight() int32 { return s.weight.Load() }

// LastWeight returns the last weight that was not 0.
func (s *RealServer) LastWeight() int32 { return s.lastWeight.Load() }

// Active returns the number of active connections.
func (s *RealServer) Active() int32 { return s.active.Load() }

// Inactive returns the number of inactive connections.
func (s *RealServer) Inactive() int32 { return s.inactive.Load() }

// Persistent returns the number of persistence templates.
func (s *RealServer) Persistent() int32 { return s.persistent.Load() }

// Thresholds returns the upper and the lower connection threshold.
func (s *RealServer) Thresholds() (upper, lower uint32) { return s.upper.Load(), s.lower.Load() }

// Overloaded reports whether the upper threshold was reached and the count has
// not yet fallen below the lower one.
func (s *RealServer) Overloaded() bool { return s.overloaded.Load() }

// SetWeight changes the weight. The caller then calls the scheduler's Update.
func (s *RealServer) SetWeight(w int32) {
	s.weight.Store(w)
	if w != 0 {
		s.lastWeight.Store(w)
	}
	s.edits.Add(1)
}

// Revive gives a server that was removed and is added again its new settings.
// Unlike SetWeight it sets the last weight even to 0, so that mh gives the server no
// slots (ip_vs_ctl.c, __ip_vs_update_dest). Counts and overload state stay. The
// caller then calls the scheduler's Add.
func (s *RealServer) Revive(weight int32, upper, lower uint32) {
	s.SetWeight(weight)
	s.lastWeight.Store(weight)
	s.SetThresholds(upper, lower)
}

// Resume sets the overload state to what it was in an earlier process, before the
// connections of then are counted.
func (s *RealServer) Resume(overloaded bool) { s.overloaded.Store(overloaded) }

// SetThresholds changes the connection thresholds; an upper threshold of 0 means
// none. As in Linux 6.1.192 the overload state follows at once, by the rule of
// AddCounts: it is set if the connections reach the new upper threshold, and cleared
// only if they are few enough; a higher upper threshold alone may not clear it.
// Older kernels cleared it whenever the upper threshold was raised.
func (s *RealServer) SetThresholds(upper, lower uint32) {
	s.upper.Store(upper)
	s.lower.Store(lower)
	s.edits.Add(1)
	s.updateOverload()
}

// Eligible reports whether s may take a new connection: for every scheduler, that it
// has a weight above 0 and is not overloaded.
func (s *RealServer) Eligible() bool { return s.weight.Load() > 0 && !s.overloaded.Load() }

// skipReason says why s is not eligible; it is empty if s is.
func (s *RealServer) skipReason() string {
	switch {
	case s.weight.Load() <= 0:
		return "weight 0"
	case s.overloaded.Load():
		return "overloaded"
	}
	return ""
}

// Overhead returns active·256 + inactive, the load figure of wlc, lblc, lblcr
// and lc.
func (s *RealServer) Overhead() int64 {
	return int64(s.active.Load())<<8 + int64(s.inactive.Load())
}

// AddCounts adds to the numbers of active connections, inactive connections and
// templates, and reports whether that changed the overload state. The state is set
// when active and inactive connections together reach the upper threshold. It is
// cleared when they are below the lower one or, without a lower threshold, below
// three quarters of the upper one. Templates do not count.
func (s *RealServer) AddCounts(active, inactive, persistent int32) (changed bool) {
	s.active.Add(active)
	s.inactive.Add(inactive)
	s.persistent.Add(persistent)
	return active+inactive != 0 && s.updateOverload()
}

// updateOverload brings the overload state in line with counts and thresholds and
// reports whether it changed. It checks again after a change, because another
// goroutine may have counted meanwhile.
func (s *RealServer) updateOverload() (changed bool) {
	for {
		was := s.overloaded.Load()
		is := s.overload(was)
		if is == was {
			return changed
		}
		if s.overloaded.CompareAndSwap(was, is) {
			changed = !changed
		}
	}
}

// overload returns the overload state that follows from the previous one.
func (s *RealServer) overload(was bool) bool {
	total := int64(s.active.Load()) + int64(s.inactive.Load())
	upper, lower := int64(s.upper.Load()), int64(s.lower.Load())
	switch {
	case upper == 0:
		return false
	case total >= upper:
		return true
	case lower != 0:
		return was && total >= lower
	}
	return was && total*4 >= upper*3
}
