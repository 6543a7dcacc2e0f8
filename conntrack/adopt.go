package conntrack

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// Adoption is what Adopt needs to know.
type Adoption struct {
	Now Tick
	// Known reports whether the server of a connection is known. It is called by
	// several goroutines at once, and not for connections without a server.
	Known func(*Conn) bool
	// Ports get the local ports of the connections by FULLNAT; nil: there are none.
	Ports *Ports
}

// Inventory is what Adopt found.
type Inventory struct {
	Conns, Templates int // that the table holds now

	// Connections and templates that it did not keep.
	Expired    int // their timeout passed meanwhile
	Unknown    int // their server is not known
	Duplicates int // another has their flow or local port

	// Dangling is how many were kept without the template or control connection that
	// they depended on.
	Dangling int

	Servers map[sched.ID]Load
}

// Load is how many connections and templates a server has.
type Load struct {
	Active, Inactive, Persistent int32
	Translated                   int32 // connections whose replies come back through the director
}

func (l *Load) add(c *Conn, n int32) {
	switch f := c.Flags(); {
	case f&Template != 0:
		l.Persistent += n
		return
	case f&Inactive != 0:
		l.Inactive += n
	default:
		l.Active += n
	}
	if c.Translated() {
		l.Translated += n
	}
}

// Adopt makes a table of what its Memory holds. It believes the entries alone, and
// those only if every one is as a table writes it: chains, free slots, counts and
// ports follow from them. Whatever moment a process was killed at, it leaves no
// other; so anything else is an error that wraps ErrDamaged, and the memory stays
// as it was. Call Adopt once, before anything else; Sweep then ends what has
// expired and still has others depend on it.
func (t *Table) Adopt(a Adoption) (Inventory, error) {
	ad := &adopter{Adoption: a, t: t, used: t.slots.used.Load()}
	words := seenWords(int(ad.used))
	room, err := scratch((words + int(ad.used) + 1) * 8)
	if err != nil {
		return Inventory{}, err
	}
	defer unix.Munmap(room)
	ad.seen, ad.hashes = longs(room)[:words], longs(room)[words:]
	ad.split(runtime.GOMAXPROCS(0))
	if err := ad.verify(); err != nil {
		return Inventory{}, err
	}
	t.waits = false
	ad.index()
	ad.ports()
	ad.controls()
	ad.slots()
	return ad.inventory(), nil
}

// adopter is an Adopt under way.
type adopter struct {
	Adoption
	t      *Table
	used   uint32     // slots 1 to used may hold connections
	hashes []uint64   // by slot: see packedHashes
	seen   seen       // of requests
	pools  []lastPool // by server and local address
	parts  []part
	counts Inventory
}

// part is what one goroutine does: the slots from one to before another.
type part struct {
	from, to uint32

	conns    int // kept
	refs     int // to link
	expected int // with NoClientPort
	depend   bool
	local    bool
	loads    []Load // by server

	// Slots of connections that are not kept as they are.
	expired, unknown, repeated, dangling []uint32

	linked [shards][2]int32 // requests and replies by shard
	sink   uint64
	err    error
}

// split divides the slots among n goroutines.
func (ad *adopter) split(n int) {
	n = max(1, min(n, shards, int(ad.used)/blockEntries))
	ad.parts = make([]part, n)
	each := (ad.used/uint32(n)/blockEntries + 1) * blockEntries
	for i := range ad.parts {
		ad.parts[i].from = max(1, uint32(i)*each)
		ad.parts[i].to = min(uint32(i+1)*each, ad.used+1)
	}
}

// parallel runs f for all parts at once.
func (ad *adopter) parallel(f func(p *part)) {
	var wg sync.WaitGroup
	for i := range ad.parts {
		wg.Go(func() { f(&ad.parts[i]) })
	}
	wg.Wait()
}

// verify looks at all entries and decides which are kept: these have a deadline
// then. It writes to no entry.
func (ad *adopter) verify() error {
	ad.parallel(func(p *part) {
		if p.from < p.to && !ad.t.mem.exist(int(p.from), int(p.to)) {
			p.err = fmt.Errorf("conntrack: %d entries: %w: %w", ad.used, ErrDamaged, unix.ENOSPC)
		}
		for slot := p.from; slot < p.to && p.err == nil; slot++ {
			p.err = ad.look(p, slot)
		}
	})
	for i := range ad.parts {
		if err := ad.parts[i].err; err != nil {
			return err
		}
	}
	ad.t.mem.conns.reached(int(ad.used+1) * ConnSize)
	ad.t.mem.sums.reached(int(ad.used+1) * 4)
	return nil
}

func (ad *adopter) look(p *part, slot uint32) error {
	t := ad.t
	c := &t.conns[slot]
	if c.status == 0 || c.Gone() {
		return nil
	}
	if c.usesEnding() && !t.mem.holdsEnding(slot) {
		return fmt.Errorf("conntrack: entry %d: %w: %w", slot, ErrDamaged, unix.ENOSPC)
	}
	if err := t.valid(slot, ad.Now); err != nil {
		return fmt.Errorf("conntrack: entry %d: %w: %w", slot, ErrDamaged, err)
	}
	end := Tick(c.seen) + Tick(c.timeout)
	switch {
	case !c.hasServer() || c.Server != 0 && !ad.Known(c):
		p.unknown = append(p.unknown, slot)
		return nil
	case end <= ad.Now && c.Flags()&(Template|Helped) == 0:
		p.expired = append(p.expired, slot) // nothing depends on it
		return nil
	}
	t.due[slot] = deadline(end)
	ad.hashes[slot] = t.packedHashes(c)
	p.keep(c)
	return nil
}

// keep counts a connection that is kept.
func (p *part) keep(c *Conn) {
	p.conns++
	p.refs++
	if c.Translated() {
		p.refs++
	}
	if c.Has(NoClientPort) {
		p.expected++
	}
	p.depend = p.depend || c.Control != 0
	p.local = p.local || c.takesPort()
	if int(c.Server) >= len(p.loads) {
		p.loads = slices.Grow(p.loads, int(c.Server)+1-len(p.loads))[:c.Server+1]
	}
	p.loads[c.Server].add(c, 1)
}

// hasServer reports whether a connection has what it needs to be forwarded: a
// method that the program knows, and a server unless the method needs none.
func (c *Conn) hasServer() bool {
	m := c.Method()
	return m.Traits().Word != "" && (c.Server != 0 || m == sched.Bypass) && c.Server < mostServers
}

// mostServers is more than a director numbers; the counts of a part have a place for
// each.
const mostServers = 1 << 20

func (c *Conn) takesPort() bool { return c.Method().NeedsLocal() && !c.Has(Template) }

// valid says what about an entry is not as a table writes it.
func (t *Table) valid(slot uint32, now Tick) error {
	c := &t.conns[slot]
	if sum := c.sum(&t.endings[slot]); sum != t.sums[slot] {
		return fmt.Errorf("its checksum is %08x, not %08x", sum, t.sums[slot])
	}
	switch states := c.states(); {
	case c.State() >= states:
		return fmt.Errorf("state %d of protocol %d", c.State(), c.Proto())
	case Tick(c.seen) > now:
		return fmt.Errorf("its last packet is %d ticks in the future", c.seen-uint32(now))
	case c.Flags()&(Invalid|Template) == Invalid:
		return errors.New("an invalid template that is none")
	case c.timeout > maxTick:
		return fmt.Errorf("a timeout of %d ticks", c.timeout)
	case !c.Has(Template) && c.Flags()&(Invalid|OnePacket) != 0:
		return errors.New("it has flags that only a template has")
	case !c.oneFamily():
		return errors.New("addresses of two IP versions")
	}
	return nil
}

// oneFamily reports whether the addresses that must be of one IP version are. A template's
// need not be, nor that of a server at the other end of a tunnel.
func (c *Conn) oneFamily() bool {
	six := isIPv6(&c.Client)
	switch {
	case c.Has(Template):
		return true
	case isIPv6(&c.Virtual) != six, c.Translated() && isIPv6(&c.Real) != six:
		return false
	}
	return !c.Method().NeedsLocal() || isIPv6(&c.Local) == six
}

// isIPv6 reports whether an address is no IPv4-mapped one.
func isIPv6(a *[16]byte) bool { return [12]byte(a[:12]) != [12]byte{10: 0xff, 11: 0xff} }

// states returns how many states the connection can be in.
func (c *Conn) states() State {
	switch {
	case c.Has(Template):
		return TemplateAssured + 1
	case c.Proto() == frame.ProtoTCP:
		return TCPStates
	case c.Proto() == frame.ProtoSCTP:
		return SCTPStates
	}
	return 1
}

// controls counts how many connections depend on each template and control
// connection, and cuts off those that depend on something else.
func (ad *adopter) controls() {
	if !slices.ContainsFunc(ad.parts, func(p part) bool { return p.depend }) {
		return
	}
	ad.parallel(func(p *part) {
		for slot := p.from; slot < p.to; slot++ {
			if ad.t.due[slot] == 0 || ad.t.conns[slot].Control == 0 {
				continue
			}
			if at := ad.t.conns[slot].Control; ad.controlOf(at) {
				atomic.AddUint32(&ad.t.conns[at].controls, 1)
			} else {
				p.dangling = append(p.dangling, slot)
			}
		}
	})
	for i := range ad.parts {
		for _, slot := range ad.parts[i].dangling {
			ad.t.cutOff(slot)
		}
		ad.counts.Dangling += len(ad.parts[i].dangling)
	}
}

// controlOf reports whether something can depend on a connection: it is a
// template, or depends on a template itself at most. So nothing depends on itself.
func (ad *adopter) controlOf(r Ref) bool {
	kept := func(r Ref) bool { return uint32(r) <= ad.used && ad.t.due[r] != 0 }
	if !kept(r) {
		return false
	}
	c := &ad.t.conns[r]
	if c.Has(Template) {
		return c.Control == 0
	}
	return c.Control == 0 || !kept(c.Control) || ad.t.conns[c.Control].Has(Template)
}

// cutOff makes a connection depend on nothing. As by fill, whoever adopts the
// table if this process ends meanwhile finds no torn entry.
func (t *Table) cutOff(slot uint32) {
	c := &t.conns[slot]
	status := c.status
	n := *c
	n.Control = 0
	sum := n.sum(&t.endings[slot])
	atomic.StoreUint32(&c.status, 0)
	c.Control = 0
	t.sums[slot] = sum
	atomic.StoreUint32(&c.status, status)
}
