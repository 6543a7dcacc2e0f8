package guard

import "github.com/google/nftables"

// Hold drops one more tuple like those of Rules.Virtual, with address, protocol
// and port, until it has been released as often as held, whatever Set says
// meanwhile. It is for connections whose ports are known only when they are
// about to begin, and costs one transaction with the kernel.
func (g *Guard) Hold(t Tuple) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holds == nil {
		g.holds = map[Tuple]int{}
	}
	if g.holds[t]++; g.holds[t] > 1 || g.conn == nil {
		return nil
	}
	return g.changeHeld(t, g.conn.SetAddElements)
}

// Release undoes one Hold; for a tuple that is not held it does nothing.
func (g *Guard) Release(t Tuple) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holds[t] == 0 {
		return nil
	}
	if g.holds[t]--; g.holds[t] > 0 {
		return nil
	}
	delete(g.holds, t)
	if g.conn == nil {
		return nil
	}
	return g.changeHeld(t, g.conn.SetDeleteElements)
}

// changeHeld adds a tuple to its set or takes it away.
func (g *Guard) changeHeld(t Tuple, change func(*nftables.Set, []nftables.SetElement) error) error {
	var e elements
	e.add(held, t)
	for set := held; set <= held+1; set++ {
		for key := range e[set] {
			if err := change(g.sets[set], []nftables.SetElement{{Key: []byte(key)}}); err != nil {
				return err
			}
			g.note(set, key)
		}
	}
	return g.conn.Flush()
}

// note keeps what the kernel has of the held tuples for Set to compare with.
func (g *Guard) note(set int, key string) {
	if g.have[set] == nil {
		g.have[set] = map[string]struct{}{}
	}
	if _, there := g.have[set][key]; there {
		delete(g.have[set], key)
		return
	}
	g.have[set][key] = struct{}{}
}

// addHeld adds the held tuples to elements.
func (g *Guard) addHeld(e *elements) {
	for t := range g.holds {
		e.add(held, t)
	}
}
