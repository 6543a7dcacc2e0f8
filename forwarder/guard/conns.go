package guard

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
)

// AddTuple drops one more tuple like those of Rules.Virtual, with address, protocol and
// port, until it has been removed as often as it was added, whatever Set does
// meanwhile. It is for connections whose ports become known only just before they
// begin, and costs one transaction with the kernel.
func (g *Guard) AddTuple(t Tuple) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tuples == nil {
		g.tuples = map[Tuple]int{}
	}
	if g.tuples[t]++; g.tuples[t] > 1 || g.conn == nil {
		return nil
	}
	return g.changeTuple(t, g.conn.SetAddElements)
}

// RemoveTuple undoes one AddTuple; for any other tuple it does nothing.
func (g *Guard) RemoveTuple(t Tuple) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tuples[t] == 0 {
		return nil
	}
	if g.tuples[t]--; g.tuples[t] > 0 {
		return nil
	}
	delete(g.tuples, t)
	if g.conn == nil {
		return nil
	}
	return g.changeTuple(t, g.conn.SetDeleteElements)
}

// changeTuple adds a tuple to its set or removes it.
func (g *Guard) changeTuple(t Tuple, change func(*nftables.Set, []nftables.SetElement) error) error {
	var e elements
	e.add(connTuples, t)
	for set := connTuples; set <= connTuples+1; set++ {
		for key := range e[set] {
			if err := change(g.sets[set], []nftables.SetElement{{Key: []byte(key)}}); err != nil {
				return err
			}
			g.countConn(set, key)
		}
	}
	return g.conn.Flush()
}

// Reply is what all packets of a connection from a real server have in common.
type Reply struct {
	Proto    uint8
	From, To netip.AddrPort // the server, and the client
}

// AddReply drops the replies of one connection, of a server in Rules.Servers to a
// client that is the host itself, until RemoveReply, whatever Set does meanwhile:
// other packets of that server to the host are the host's. It costs one transaction
// with the kernel.
func (g *Guard) AddReply(r Reply) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.replies == nil {
		g.replies = map[Reply]struct{}{}
	}
	if _, exists := g.replies[r]; exists {
		return nil
	}
	g.replies[r] = struct{}{}
	if g.conn == nil {
		return nil
	}
	return g.changeReply(r, g.conn.SetAddElements)
}

// RemoveReply undoes AddReply; for any other connection it does nothing.
func (g *Guard) RemoveReply(r Reply) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, exists := g.replies[r]; !exists {
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
	g.countConn(set, key)
	return g.conn.Flush()
}

// element returns the set and the key of a connection's replies.
func (r Reply) element() (set int, key string) {
	set = connReplies
	from, to := r.From.Addr().Unmap().WithZone(""), r.To.Addr().Unmap().WithZone("")
	if from.Is6() {
		set++
	}
	b := append(from.AsSlice(), r.Proto, 0, 0, 0)
	b = append(binary.BigEndian.AppendUint16(b, r.From.Port()), 0, 0)
	b = append(b, to.AsSlice()...)
	return set, string(append(binary.BigEndian.AppendUint16(b, r.To.Port()), 0, 0))
}

// countConn records which of these elements the kernel has, for Set to compare with.
func (g *Guard) countConn(set int, key string) {
	if g.have[set] == nil {
		g.have[set] = map[string]int{}
	}
	if g.have[set][key] > 0 {
		delete(g.have[set], key)
		return
	}
	g.have[set][key] = 1
}

// addConns adds the tuples and replies of single connections to elements.
func (g *Guard) addConns(e *elements) {
	for t := range g.tuples {
		e.add(connTuples, t)
	}
	for r := range g.replies {
		set, key := r.element()
		if e[set] == nil {
			e[set] = map[string]int{}
		}
		e[set][key] = 1
	}
}
