package sched

// list is the server list of a service in IPVS's order: the server added last comes
// first. Each server has a slot, its index in arrays and trees. The higher the slot,
// the earlier the server in IPVS's list, so a new server goes to the end of the
// array. A removed one leaves a hole until the list is repacked.
type list struct {
	at    []*RealServer // by slot, nil in a hole
	slots map[*RealServer]int
	edits []uint32 // by slot: RealServer.edits as last seen by edited
}

// minSlots is the smallest number of slots, a power of two.
const minSlots = 8

// head is the place before the first server, where IPVS's list head is.
func (l *list) head() int { return cap(l.at) }

// add gives s the next slot. If none was left, it repacks the list: all slots are
// new, size is their number, and trees must be rebuilt. Otherwise size is 0. ok is
// false if s was in the list already.
func (l *list) add(s *RealServer) (slot, size int, ok bool) {
	if _, in := l.slots[s]; in {
		return 0, 0, false
	}
	if len(l.at) == cap(l.at) {
		l.repack()
		size = cap(l.at)
	}
	slot = len(l.at)
	l.at = append(l.at, s)
	l.edits = append(l.edits, s.edits.Load())
	l.slots[s] = slot
	return slot, size, true
}

// repack closes the holes and doubles the room, which keeps the mean cost of an add
// constant.
func (l *list) repack() {
	size := minSlots
	for size < 2*len(l.slots) {
		size *= 2
	}
	at, edits := l.at, l.edits
	l.at, l.edits = make([]*RealServer, 0, size), make([]uint32, 0, size)
	l.slots = make(map[*RealServer]int, size)
	for i, s := range at {
		if s != nil {
			l.slots[s] = len(l.at)
			l.at, l.edits = append(l.at, s), append(l.edits, edits[i])
		}
	}
}

// remove removes s and returns the slot it had.
func (l *list) remove(s *RealServer) (slot int, ok bool) {
	slot, ok = l.slots[s]
	if ok {
		delete(l.slots, s)
		l.at[slot] = nil
	}
	return slot, ok
}

// before returns the slot of the server before slot in IPVS's order, or head.
func (l *list) before(slot int) int {
	for i := slot + 1; i < len(l.at); i++ {
		if l.at[i] != nil {
			return i
		}
	}
	return l.head()
}

// edited reports whether the server at slot was edited since the last call.
func (l *list) edited(slot int) bool {
	was, is := l.edits[slot], l.at[slot].edits.Load()
	l.edits[slot] = is
	return was != is
}

// each calls f for the servers in IPVS's order until f returns false.
func (l *list) each(f func(slot int, s *RealServer) bool) {
	for i := len(l.at) - 1; i >= 0; i-- {
		if s := l.at[i]; s != nil && !f(i, s) {
			return
		}
	}
}

// eachAfter is each, but begins after slot and wraps around once.
func (l *list) eachAfter(slot int, f func(slot int, s *RealServer) bool) {
	for range len(l.at) {
		if slot--; slot < 0 || slot >= len(l.at) {
			slot = len(l.at) - 1
		}
		if s := l.at[slot]; s != nil && !f(slot, s) {
			return
		}
	}
}

// placeName names a slot in a Record.
func (l *list) placeName(slot int) string {
	if slot >= len(l.at) {
		return "the head of the list"
	}
	return l.at[slot].Addr.String()
}
