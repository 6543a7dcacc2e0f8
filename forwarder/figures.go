package forwarder

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/port"
)

// PortFigures is what a receive queue has counted, and all before it with the same name, also
// in earlier processes that have left their state. No count goes back.
type PortFigures struct {
	Name     string // interface and queue: all/0, tap0/0; other: of queues beyond the first 64 names
	Received uint64 // frames
	Outcomes [frame.Verdicts]uint64
	Waiting  uint64 // frames that have no verdict yet

	Sent, Refused, RingDrops uint64 // frames, by the port's own count

	// Of this process only: batches by their frames (1, 2, 3 to 4, 5 to 8 and so on), the
	// frames in them, and how long the worker was busy with them.
	Batches [batchSizes]uint64
	Batched uint64
	Busy    time.Duration
}

// batchSizes is how many sizes of batches are told apart: up to 1, 2, 4 and so on to 256 frames.
const batchSizes = 9

// What a port counts itself.
const (
	countSent = iota
	countRefused
	countRingDrops
	portCounts
)

var portCountNames = [portCounts]string{countSent: "sent", countRefused: "refused", countRingDrops: "ring-drops"}

// namedPorts is how many names of queues are told apart. A queue with a name that was seen
// before continues its figures; those with other names share numbers beyond.
const namedPorts = 64

const otherPorts = "other"

// nameWords are the counters in the state that hold the name of a queue, 8 bytes each.
const nameWords = 3

// portFigures is what is counted under a number: a ledger, and what is shown beside it.
type portFigures struct {
	*ledger
	name    [nameWords]*atomic.Uint64
	counts  [portCounts]*atomic.Uint64
	batches [batchSizes]atomic.Uint64
	batched atomic.Uint64
	busy    atomic.Int64
}

// newPortFigures returns those of a number.
func (s *accounts) newPortFigures(n int) *portFigures {
	p, at := &portFigures{ledger: s.ledger(n)}, ledgerName(n)
	for i := range p.name {
		p.name[i] = s.counter(at + "name" + strconv.Itoa(i))
	}
	for i, name := range portCountNames {
		p.counts[i] = s.counter(at + name)
	}
	return p
}

// is returns the name of the queue, "" if it has none yet.
func (p *portFigures) is() string {
	var b [8 * nameWords]byte
	for i := range p.name {
		binary.LittleEndian.PutUint64(b[8*i:], p.name[i].Load())
	}
	return strings.TrimRight(string(b[:]), "\x00")
}

func (p *portFigures) call(name string) {
	var b [8 * nameWords]byte
	copy(b[:], name)
	for i := range p.name {
		p.name[i].Store(binary.LittleEndian.Uint64(b[8*i:]))
	}
}

func (p *portFigures) load() (n [portCounts]uint64) {
	for i := range n {
		n[i] = p.counts[i].Load()
	}
	return n
}

// numberFor returns a free number for a queue: the one that it had before, if it had one. The
// caller holds the lock.
func (s *accounts) numberFor(name string) int {
	unnamed := -1
	for n := range min(len(s.ports), namedPorts) {
		switch is := s.ports[n].is(); {
		case s.taken(n):
		case is == name:
			return n
		case is == "" && unnamed < 0:
			unnamed = n
		}
	}
	n := namedPorts
	for s.taken(n) {
		n++
	}
	if len(s.ports) < namedPorts && unnamed < 0 {
		unnamed = len(s.ports)
	}
	if unnamed >= 0 {
		n = unnamed
	}
	for len(s.ports) <= n {
		s.ports = append(s.ports, s.newPortFigures(len(s.ports)))
	}
	if n < namedPorts {
		s.ports[n].call(name)
	}
	return n
}

func (s *accounts) taken(n int) bool { return n < len(s.all) && s.all[n] != nil }

// note counts a batch. Only the account's worker calls it.
func (p *portFigures) note(frames uint64, busy time.Duration) {
	p.busy.Store(p.busy.Load() + int64(busy))
	if frames > 0 {
		p.batched.Store(p.batched.Load() + frames)
		size := &p.batches[min(bits.Len64(frames-1), batchSizes-1)]
		size.Store(size.Load() + 1)
	}
}

// portCounters returns what the port counts, and those before it with the same number. What it
// returns is kept, so that it never goes back.
func (a *account) portCounters() (n [portCounts]uint64) {
	p, ok := a.port.(port.Counter)
	if !ok {
		return a.load()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	all := p.Counters()
	for i, name := range portCountNames {
		n[i] = max(a.basePort[i]+all[name], a.counts[i].Load())
		a.counts[i].Store(n[i])
	}
	return n
}

// Ports returns what all receive queues have counted, in the order of their numbers.
func (fw *Forwarder) Ports() (list []PortFigures) {
	s := &fw.accounts
	s.mu.RLock()
	defer s.mu.RUnlock()
	for n, p := range s.ports {
		a := &account{portFigures: p}
		if s.taken(n) {
			a = s.all[n]
		}
		f := a.figures()
		switch {
		case n >= namedPorts:
			f.Name = otherPorts
		case f.Name == "":
			continue
		}
		list = append(list, f)
	}
	return list
}

func (a *account) figures() PortFigures {
	said, counts := a.whole(), a.load()
	if a.port != nil {
		counts = a.portCounters()
	}
	f := PortFigures{
		Name: a.is(), Received: said.received, Waiting: said.fragments + said.outside.waiting(),
		Sent: counts[countSent], Refused: counts[countRefused], RingDrops: counts[countRingDrops],
		Batched: a.batched.Load(), Busy: time.Duration(a.busy.Load()),
	}
	for v := range f.Outcomes {
		f.Outcomes[v] = said.outcome(frame.Verdict(v))
	}
	for i := range f.Batches {
		f.Batches[i] = a.batches[i].Load()
	}
	return f
}

// Add adds what another queue with the same name has counted.
func (f *PortFigures) Add(o *PortFigures) {
	f.Received += o.Received
	f.Waiting += o.Waiting
	for v := range f.Outcomes {
		f.Outcomes[v] += o.Outcomes[v]
	}
	f.Sent += o.Sent
	f.Refused += o.Refused
	f.RingDrops += o.RingDrops
	f.Batched += o.Batched
	for i := range f.Batches {
		f.Batches[i] += o.Batches[i]
	}
	f.Busy += o.Busy
}

// ConnCount is how many connections of a protocol are in a state, as ipvsadm -Lc names it.
type ConnCount struct {
	Proto config.Proto // 0: of no protocol that is served
	State string
	Conns int
}

// CountConns counts the connections and the templates in the table. It goes through all of
// it, some 50 ns for each, and holds up no worker.
func (fw *Forwarder) CountConns() (list []ConnCount, templates int) {
	type class struct {
		proto uint8
		state conntrack.State
	}
	counts := map[class]*ConnCount{}
	r := fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool {
		if c.Has(conntrack.Template) {
			templates++
			return true
		}
		if fw.isProbe(c) {
			return true
		}
		k := class{c.Proto(), c.State()}
		if counts[k] == nil {
			counts[k] = &ConnCount{Proto: config.Proto(c.Proto()), State: c.StateName()}
		}
		counts[k].Conns++
		return true
	})
	for _, c := range counts {
		list = append(list, *c)
	}
	return list, templates
}

// ConnLimit returns how many connections the table has room for.
func (fw *Forwarder) ConnLimit() int { return fw.conns.Capacity() }

// ConnsCreated and ConnsEnded return how many connections were scheduled, and how many left
// the table for whatever reason, since the director's state began.
func (fw *Forwarder) ConnsCreated() uint64 { return fw.Total.Load().Conns }

// ConnsEnded is described at ConnsCreated.
func (fw *Forwarder) ConnsEnded() uint64 { return fw.ended.Load() }

// PoolUse is how many local ports of FULLNAT are taken towards the server to which most are.
type PoolUse struct {
	Local       netip.Addr
	Used, Ports int // Used: by connections that go on
}

// Pools returns how many ports of each local address are taken that has one in use.
func (fw *Forwarder) Pools() (list []PoolUse) {
	for local, u := range fw.locals.Fullest() {
		list = append(list, PoolUse{netip.AddrFrom16(local).Unmap(), u.Live, fw.locals.Size()})
	}
	return list
}
