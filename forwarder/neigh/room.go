package neigh

// meet adds a host that asks for an owned address: it is about to send, and so need not
// be asked itself, which a flood from hosts that do not exist could prevent. It is
// believed no more than an unsolicited claim: once it is used it is probed. Until then it
// is the first to make room for others.
func (t *Table) meet(s observation) {
	w := t.view.Load().route(s.addr)
	if w == nil || w.link != s.link || w.local || w.gateway.IsValid() {
		return
	}
	if len(t.neighbours) >= maxNeighbours && !t.makeRoom() {
		return
	}
	n := t.newNeighbour(s.key)
	n.used.Store(t.age.Load() - 2)
	t.setMAC(n, s.mac, false)
}

// makeRoom forgets a neighbour that nobody has met, or that only claims to be there, and
// that nobody uses. So hosts that do not exist take each other's places, never those of
// others. It reports false if it finds none among a few. The caller holds mu.
func (t *Table) makeRoom() bool {
	const few = 64
	looked := 0
	for _, n := range t.neighbours {
		if looked++; looked > few {
			return false
		}
		idle := n.phase == phaseNew || n.phase == phaseFailed || n.known() && n.confirmed.IsZero() && !t.inUse(n)
		if idle && !n.kernel && !n.permanent && len(n.queue) == 0 {
			t.forget(n)
			return true
		}
	}
	return false
}
