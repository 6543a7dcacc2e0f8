package forwarder

import (
	"slices"
	"sync"
	"sync/atomic"
)

// readers is a set of those that watch what the workers do. Workers only look whether
// there are any. Safe for concurrent use.
type readers[R comparable] struct {
	active   atomic.Pointer[[]R] // nil: no reader
	changing sync.Mutex
}

func (s *readers[R]) add(r R) {
	s.change(func(all []R) []R { return append(slices.Clip(all), r) })
}

func (s *readers[R]) remove(r R) {
	s.change(func(all []R) []R {
		return slices.DeleteFunc(slices.Clone(all), func(o R) bool { return o == r })
	})
}

func (s *readers[R]) change(f func([]R) []R) {
	s.changing.Lock()
	defer s.changing.Unlock()
	var all []R
	if now := s.active.Load(); now != nil {
		all = *now
	}
	if all = f(all); len(all) == 0 {
		s.active.Store(nil)
		return
	}
	s.active.Store(&all)
}
