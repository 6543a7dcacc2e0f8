package guard

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
)

// Hold drops one more tuple like those of Rules.Virtual, with address, protocol and
// port, until it has been released as often as it was held, whatever Set does
// meanwhile. It is for connections whose ports become known only just before they
// begin, and costs one transaction with the kernel.
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

// changeHeld adds a tuple to its set or removes it.
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

// Reply is what all packets of a connection from a real server have in common.
type Reply struct {
	Proto    uint8
	From, To netip.AddrPort // the server, and the client
}

// HoldReply drops the replies of one connection, of a server in Rules.Servers to a
// client that is the host itself, until ReleaseReply, whatever Set does meanwhile:
// other packets of that server to the host are the host's. It costs one transaction
// with the kernel.
func (g *Guard) HoldReply(r Reply) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.replies == nil {
		g.replies = map[Reply]struct{}{}
	}
	if _, there := g.replies[r]; there {
		return nil
	}
	g.replies[r] = struct{}{}
	if g.conn == nil {
		return nil
	}
	return g.changeReply(r, g.conn.SetAddElements)
}

// ReleaseReply undoes HoldReply; for a connection that is not held it does
// nothing.
func (g *Guard) ReleaseReply(r Reply) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, there := g.replies[r]; !there {
		return nil
	}
	delete(g.replies, r)
	if g.conn == nil {
		return nil
	}
	return g.changeReply(r, g.conn.SetDeleteElements)
}

// changeReply adds a connection's replies to their set or removes them.
func (g *Guard) changeReply(r Reply, change func(*nftables.Set, []nftables.SetElement) error) error {
	set, key := r.element()
	if err := change(g.sets[set], []nftables.SetElement{{Key: []byte(key)}}); err != nil {
		return err
	}
	g.note(set, key)
	return g.conn.Flush()
}

// element returns the set and the key of a connection's replies.
func (r Reply) element() (set int, key string) {
	set = answers
	from, to := r.From.Addr().Unmap().WithZone(""), r.To.Addr().Unmap().WithZone("")
	if from.Is6() {
		set++
	}
	b := append(from.AsSlice(), r.Proto, 0, 0, 0)
	b = append(binary.BigEndian.AppendUint16(b, r.From.Port()), 0, 0)
	b = append(b, to.AsSlice()...)
	return set, string(append(binary.BigEndian.AppendUint16(b, r.To.Port()), 0, 0))
}

// note records which held tuples the kernel has, for Set to compare with.
func (g *Guard) note(set int, key string) {
	if g.have[set] == nil {
		g.have[set] = map[string]int{}
	}
	if g.have[set][key] > 0 {
		delete(g.have[set], key)
		return
	}
	g.have[set][key] = 1
}

// addHeld adds the held tuples and replies to elements.
func (g *Guard) addHeld(e *elements) {
	for t := range g.holds {
		e.add(held, t)
	}
	for r := range g.replies {
		set, key := r.element()
		if e[set] == nil {
			e[set] = map[string]int{}
		}
		e[set][key] = 1
	}
}
