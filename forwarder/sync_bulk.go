package forwarder

import (
	"time"

	"uvs/conntrack"
	"uvs/forwarder/connsync"
)

const (
	// bulkEntries is how many entries of the table a master sends in each syncStep: a
	// million in 5 s.
	bulkEntries = 2000
	// bulkRest is the least time from the end of one bulk to the beginning of the next. It
	// doubles, up to maxBulkRest, while bulks follow each other: where a link loses
	// datagrams, each bulk is reason to ask for another.
	bulkRest    = 3 * time.Second
	maxBulkRest = 2 * time.Minute
)

// bulk sends the whole table, for backups that came late or have missed datagrams: as
// ordinary entries, which a kernel takes as well, at a pace that receivers stand. It
// belongs to the master's goroutine.
type bulk struct {
	reader *conntrack.Reader
	next   conntrack.Ref // where to go on; 0: nothing is to be sent
	again  bool          // once more from the beginning
	ended  time.Time     // when the last one was over; zero: there was none
	rest   time.Duration // for how long none begins then
	entry  connsync.Entry
	buf    []byte      // the entries of one step of the walk
	found  []bulkEntry // where they are
}

type bulkEntry struct {
	end  int // in buf
	port uint8
}

func (k *bulk) begin(m *syncMaster) {
	quiet := time.Since(k.ended)
	if k.next != 0 || quiet < k.rest {
		k.again = true
		return
	}
	if k.rest == 0 || quiet >= 2*k.rest {
		k.rest = bulkRest
	} else {
		k.rest = min(2*k.rest, maxBulkRest)
	}
	k.next, k.again = 1, false
	m.sync.count.bulks.Add(1)
}

// step sends the next entries, if there are any to send.
func (k *bulk) step(m *syncMaster) {
	if k.next == 0 {
		if k.again && time.Since(k.ended) >= k.rest {
			k.begin(m)
		}
		return
	}
	fw := m.sync.fw
	p, now := fw.sysctl.Load(), fw.now()
	for n := 0; n < bulkEntries && k.next != 0; {
		k.buf, k.found = k.buf[:0], k.found[:0]
		k.next = k.reader.Walk(k.next, func(c *conntrack.Conn) bool {
			if ok, _, _ := syncable(c.Proto(), c.State()); !ok && !c.Has(conntrack.Template) || c.Has(conntrack.NoClientPort) {
				return true
			}
			if p.SyncPersistMode != 0 && fw.persistent(c) {
				return true
			}
			k.take(m, c, now, uint8(p.SyncVersion))
			return true
		})
		n += len(k.found)
		k.send(m, uint8(p.SyncVersion))
	}
	if k.next == 0 {
		k.ended = time.Now()
	}
}

// send sends what one step of the walk has found, after the step: to send may take time, in
// which the table waits for nobody.
func (k *bulk) send(m *syncMaster, version uint8) {
	begin := 0
	for _, f := range k.found {
		m.add(k.buf[begin:f.end], f.port, version)
		begin = f.end
	}
}

// take takes one entry to be sent. A connection is said to live as long as it has left; the next
// packet gives it its whole time again.
func (k *bulk) take(m *syncMaster, c *conntrack.Conn, now conntrack.Tick, version uint8) {
	if !m.sync.fw.describe(&k.entry, c) {
		return
	}
	k.entry.Copy = m.sync.untouched(c)
	k.entry.Bulk = !k.entry.Copy
	if !c.Has(conntrack.Template) {
		k.entry.Timeout = max(1, uint32(c.Expires(now)/time.Second))
	}
	begin := len(k.buf)
	if k.buf = k.entry.Append(k.buf, version); len(k.buf) > begin {
		k.found = append(k.found, bulkEntry{len(k.buf), m.portOf(m.sync.fw.conns.Ref(c))})
	}
}
