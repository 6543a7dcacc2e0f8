// Package conntrack is the director's connection table: which client's packets
// go to which real server, the states and timeouts of TCP, UDP and SCTP as in
// Linux 6.1 IPVS, persistence templates, and the local ports of FULLNAT. It knows
// no packet bytes, no service and no scheduler.
//
// A worker handles a batch of frames between its Reader's Enter and Exit: Lookup
// (or LookupBatch) finds the connection of a flow in either direction, Insert
// adds one, Advance changes its state and says how the server's active and
// inactive counts change. Another goroutine calls Sweep, which expires
// connections, and one may run Provide, which prepares memory.
//
// Entries are of fixed size and without pointers, in memory that the collector
// never scans, reserved for the configured maximum and used as needed. They are
// linked into chains by the request's flow and, if replies come back through the
// director, by the reply's. Chains are spread over shards, and each shard grows by
// one chain an insert (linear hashing: Litwin, VLDB 1980), so the table never
// stops to rehash. Lookups take no lock, except for a flow not found while its
// shard was growing. A removed entry is reused only after every Reader has passed
// an Exit (epoch reclamation: Fraser, UCAM-CL-TR-579), so what a batch has found
// stays valid.
//
// The entries can be in memory that outlives the process, a file's (Config.Memory).
// Only the entries are: whoever comes after makes chains, free slots, deadlines and
// counts anew from them (Adopt). An entry counts from the single store that gives it
// its status to the one that marks it dead, so a process that is killed in between
// two instructions loses at most what it was about to insert. Each has a checksum of
// what does not change, and what does not fit is damage that no kill does.
//
// Time is a Tick that callers pass in. All methods are safe for concurrent use
// except where they say otherwise; a Reader belongs to one goroutine.
package conntrack

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	shards    = 256
	shardBits = 8

	// DefaultCapacity is how many connections a table holds if its Config does
	// not say.
	DefaultCapacity = 4 << 20
	// MaxCapacity is how many a table can hold: its references have 32 bits,
	// one of which is the direction.
	MaxCapacity = 1<<30 - 1

	maxTick = math.MaxInt32 - 1

	// startBuckets is the number of chains in a fresh shard.
	startBuckets = 2

	freshTimeout  = 3 * TicksPerSecond  // before the first state (ip_vs_conn.c, ip_vs_conn_new)
	rearmTimeout  = 60 * TicksPerSecond // of one that still controls others (ip_vs_conn_expire)
	templateSeed  = 0x9e3779b97f4a7c15  // sets template chains apart from connections'
	cacheLine     = 64
	blockEntries  = 64
	deadlineSpent = 1 << 31 // deadlines from here on are links of free slots
)

// ErrClosed is returned for a table whose memory was given back.
var ErrClosed = errors.New("conntrack: table is closed")

// Config describes a Table. The zero value works.
type Config struct {
	// Capacity is the largest number of connections and templates together;
	// 0 means DefaultCapacity.
	Capacity int
	// Seed mixes into the hash of flows; 0 means a random one.
	Seed uint64
	// Memory, if set, is where the table keeps its entries: Size(Capacity) bytes of
	// a file that other processes may map after this one. It is the caller's, who
	// unmaps it after Close; one process at a time may use it. With an address that
	// is a multiple of 2 MiB it can have huge pages.
	Memory []byte
	// Base is the caller's clock at the beginning of tick 1, which new Memory keeps
	// for the process that adopts it.
	Base time.Duration
	// Gone is called exactly once for each connection that leaves the table, by
	// the goroutine that removed it and with no lock held. The connection no
	// longer changes: its counts may be returned to the server, its port
	// released. Gone must not keep the pointer.
	Gone func(*Conn)
}

// Table is a connection table.
type Table struct {
	mem     memory
	head    Header
	waits   bool     // for Adopt
	conns   []Conn   // by Ref; 0 is unused
	sums    []uint32 // by Ref: checksums of the connections, for Adopt
	due     []uint32 // by Ref: Tick before which Sweep need not look; free slots: deadlineSpent | next
	soon    []uint32 // by block of blockEntries: none of its entries is due before
	heads   []uint32 // chains: heads[bucket<<shardBits | shard]
	endings []ending // by Ref
	seed    uint64
	gone    func(*Conn)
	chains  uint32 // largest number of chains a shard may have

	shards [shards]shard

	slots    slots
	epochs   epochs
	sweep    sweeper
	expected atomic.Int32 // connections with NoClientPort
}

// shard is 1/256 of the index, chosen by the top bits of a flow's hash. Its
// chains are read without the lock and changed with it.
type shard struct {
	mu    sync.Mutex
	seq   atomic.Uint32 // odd while a chain is being split
	count atomic.Uint32 // number of chains
	refs  uint32        // references in the chains
	conns atomic.Int32  // connections and templates whose request link is here
	_     [cacheLine - 24]byte
}

// New returns an empty table, or one that waits for Adopt because its Memory holds
// entries. Its memory is reserved, not used: a table for 4 million connections
// costs a few pages until they come. An error about Memory wraps ErrForeign,
// ErrNewer, ErrOlder or ErrDamaged.
func New(c Config) (*Table, error) {
	if c.Capacity == 0 {
		c.Capacity = DefaultCapacity
	}
	if c.Capacity < 1 || c.Capacity > MaxCapacity {
		return nil, fmt.Errorf("conntrack: capacity %d: not in 1 to %d", c.Capacity, MaxCapacity)
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64() | 1
	}
	t := &Table{seed: c.Seed, gone: c.Gone, chains: chainsFor(c.Capacity)}
	t.slots.init(c.Capacity)
	if c.Memory != nil {
		if err := t.inspect(&c); err != nil {
			return nil, err
		}
	}
	if err := t.mem.reserve(t, c.Capacity+1, c.Memory); err != nil {
		return nil, err
	}
	for i := range t.shards {
		t.shards[i].count.Store(startBuckets)
	}
	if t.waits {
		return t, nil
	}
	t.head = Header{Version: layouts[0].version, Capacity: c.Capacity, Base: c.Base}
	crand.Read(t.head.Key[:])
	if !t.mem.header.reach(HeaderSize) || !t.mem.conns.reach(ConnSize) {
		_ = t.Close()
		return nil, fmt.Errorf("conntrack: memory for connections: %w", unix.ENOSPC)
	}
	t.head.write(t.mem.header.bytes)
	return t, nil
}

// inspect reads what Memory holds, and decides whether the table waits for Adopt.
func (t *Table) inspect(c *Config) (err error) {
	if t.head, t.waits, err = Inspect(c.Memory); err != nil {
		return err
	}
	if t.waits && (t.head.Version != layouts[0].version || t.head.Capacity != c.Capacity) {
		return fmt.Errorf("conntrack: layout %d for %d connections: %w", t.head.Version, t.head.Capacity, ErrOlder)
	}
	if want := Size(c.Capacity); len(c.Memory) != want {
		return fmt.Errorf("conntrack: %w: %d bytes of memory for %d connections, not %d", ErrDamaged, len(c.Memory), c.Capacity, want)
	}
	used, err := usedOf(c.Memory, c.Capacity)
	t.slots.used.Store(used)
	return err
}

// Inherited reports whether the table's Memory held one already: then Adopt comes
// before anything else.
func (t *Table) Inherited() bool { return t.waits }

// Header returns what the table's memory says about itself.
func (t *Table) Header() Header { return t.head }

// chainsFor returns the most chains a shard needs when every one of n
// connections is linked twice, with one reference a chain.
func chainsFor(n int) uint32 {
	return max(startBuckets, uint32((2*n+shards-1)/shards))
}

// Close gives the memory back. No Reader may be in use, and Provide must have
// returned.
func (t *Table) Close() error {
	t.conns, t.sums, t.due, t.soon, t.heads, t.endings = nil, nil, nil, nil, nil, nil
	return t.mem.release()
}

// Short reports whether the table has refused connections for lack of memory, not
// because it holds its Capacity, since there was room last.
func (t *Table) Short() bool { return t.mem.short.Load() }

// Capacity returns the largest number of connections the table can hold.
func (t *Table) Capacity() int { return int(t.slots.capacity) }

// Len returns the number of connections and templates in the table.
func (t *Table) Len() int {
	n := 0
	for i := range t.shards {
		n += int(t.shards[i].conns.Load())
	}
	return n
}

// At returns the connection of a valid Ref of this table.
func (t *Table) At(r Ref) *Conn { return &t.conns[r] }
