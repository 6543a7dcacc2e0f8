package state

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Slot is a fixed place for the counters of a service, a server or the director. Its
// words are used with sync/atomic where several goroutines write.
type Slot [24]uint64

// The file of counters, in words of 8 bytes in the host's order:
//
//	page 0   magic, layout, the commits of the records, number of names, of chunks
//	pages    names: 48 bytes of name, its checksum, the counter
//	chunks   of slots
const (
	slotSize   = 24 * 8
	chunkSlots = 4096
	chunkSize  = chunkSlots * slotSize

	pageSize    = 4096
	nameWords   = 8
	nameLen     = 48
	maxNames    = 8192
	nameStep    = pageSize / (nameWords * 8) // names whose memory is reserved at once
	headSize    = pageSize + maxNames*nameWords*8
	countersTag = 0x31_73_72_74_6e_63_76_75 // "uvcntrs1"

	wordTag    = 0
	wordLayout = 1
	wordNames  = 2  // and its complement
	wordChunks = 4  // and its complement
	wordCommit = 16 // commitWords
)

// counters is the mapped file.
type counters struct {
	file   *os.File
	head   []byte
	words  []atomic.Uint64 // of head
	chunks [][]byte
	next   uint32   // the first slot that was never given out
	free   []uint32 // slots given back, the oldest first
	names  map[string]*atomic.Uint64
}

func newCounters(p place) (*counters, error) {
	f, err := p.create(countersName)
	if err != nil {
		return nil, err
	}
	c := &counters{file: f, names: map[string]*atomic.Uint64{}}
	if err := c.begin(); err != nil {
		c.close()
		return nil, err
	}
	if err := p.put(countersName, f); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// begin writes the head.
func (c *counters) begin() (err error) {
	if err = c.file.Truncate(headSize); err != nil {
		return fmt.Errorf("state: %s: %w", countersName, err)
	}
	if err = reserve(countersName, c.file, 0, pageSize); err != nil {
		return err
	}
	if c.head, err = mapBytes(c.file, 0, headSize); err != nil {
		return err
	}
	c.words = words(c.head)
	c.words[wordTag].Store(countersTag)
	c.words[wordLayout].Store(Layout)
	c.setCount(wordNames, 0)
	c.setCount(wordChunks, 0)
	c.commit().begin()
	return nil
}

// setCount writes a count and its complement. A kill between them leaves the last one
// right: see count.
func (c *counters) setCount(at int, n uint64) {
	c.words[at].Store(n)
	c.words[at+1].Store(^n)
}

// count reads what setCount wrote: what was counted last may be one more.
func (c *counters) count(at int, limit uint64) (uint64, error) {
	n, before := c.words[at].Load(), ^c.words[at+1].Load()
	if n > limit || n != before && n != before+1 {
		return 0, refuse(countersName, "it is damaged: a count is %d or %d", n, before)
	}
	c.setCount(at, n)
	return n, nil
}

// openCounters opens the file. It returns nil if there is none.
func openCounters(p place) (*counters, error) {
	f, err := p.open(countersName)
	if f == nil || err != nil {
		return nil, err
	}
	c := &counters{file: f, names: map[string]*atomic.Uint64{}}
	if err := c.read(); err != nil {
		c.close()
		c.unmap()
		return nil, err
	}
	return c, nil
}

func (c *counters) read() error {
	info, err := c.file.Stat()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if info.Size() < headSize {
		return refuse(countersName, "it is truncated to %d bytes", info.Size())
	}
	if c.head, err = mapBytes(c.file, 0, headSize); err != nil {
		return err
	}
	c.words = words(c.head)
	if c.words[wordTag].Load() != countersTag || c.words[wordLayout].Load() != Layout {
		return refuse(countersName, "it is no file of counters with layout %d", Layout)
	}
	if err := c.readNames(); err != nil {
		return err
	}
	n, err := c.count(wordChunks, 1<<20)
	if err != nil {
		return err
	}
	if have := info.Size(); have < headSize+int64(n)*chunkSize {
		return refuse(countersName, "it is truncated: %d bytes of %d", have, headSize+int64(n)*chunkSize)
	}
	for range n {
		if err := c.mapChunk(); err != nil {
			return err
		}
	}
	c.next = uint32(n * chunkSlots)
	return nil
}

func (c *counters) readNames() error {
	n, err := c.count(wordNames, maxNames)
	if err != nil {
		return err
	}
	for i := range int(n) {
		text := c.nameAt(i)
		name := bytes.TrimRight(text, "\x00")
		sum := c.words[c.nameWord(i)+nameLen/8].Load()
		if len(name) == 0 || bytes.IndexByte(name, 0) >= 0 || sum != uint64(checksum(text)) {
			return refuse(countersName, "the name of counter %d is damaged", i)
		}
		c.names[string(name)] = c.counterAt(i)
	}
	return nil
}

func (c *counters) nameWord(i int) int { return pageSize/8 + i*nameWords }

func (c *counters) nameAt(i int) []byte {
	at := c.nameWord(i) * 8
	return c.head[at : at+nameLen]
}

func (c *counters) counterAt(i int) *atomic.Uint64 { return &c.words[c.nameWord(i)+nameLen/8+1] }

// counter returns the counter with a name, new ones from 0, and nil if there is no
// room for it.
func (c *counters) counter(name string) *atomic.Uint64 {
	if at := c.names[name]; at != nil {
		return at
	}
	i := len(c.names)
	if i == maxNames || len(name) > nameLen || name == "" {
		return nil
	}
	if i%nameStep == 0 && reserve(countersName, c.file, int64(c.nameWord(i))*8, pageSize) != nil {
		return nil
	}
	text := c.nameAt(i)
	clear(text)
	copy(text, name)
	c.words[c.nameWord(i)+nameLen/8].Store(uint64(checksum(text)))
	at := c.counterAt(i)
	at.Store(0)
	c.setCount(wordNames, uint64(i+1))
	c.names[name] = at
	return at
}

// Counter returns the counter with a name of up to 48 bytes. It has the value that an
// earlier process left, and 0 if it is new. One for which there is no room, and that of
// a nil State, is in this process's memory.
func (s *State) Counter(name string) *atomic.Uint64 {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if at := s.counters.counter(name); at != nil {
			return at
		}
	}
	return new(atomic.Uint64)
}

// Counters returns all counters by name that are kept for the next process.
func (s *State) Counters() map[string]uint64 {
	all := map[string]uint64{}
	if s == nil {
		return all
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, at := range s.counters.names {
		all[name] = at.Load()
	}
	return all
}

// mapChunk maps the next chunk of slots, which the file has.
func (c *counters) mapChunk() error {
	b, err := mapBytes(c.file, headSize+int64(len(c.chunks))*chunkSize, chunkSize)
	if err != nil {
		return err
	}
	c.chunks = append(c.chunks, b)
	return nil
}

// grow adds a chunk of slots.
func (c *counters) grow() error {
	end := headSize + int64(len(c.chunks)+1)*chunkSize
	if err := c.file.Truncate(end); err != nil {
		return fmt.Errorf("state: %s: %w", countersName, err)
	}
	if err := reserve(countersName, c.file, end-chunkSize, chunkSize); err != nil {
		return err
	}
	if err := c.mapChunk(); err != nil {
		return err
	}
	c.setCount(wordChunks, uint64(len(c.chunks)))
	return nil
}

func (c *counters) slot(number uint32) *Slot {
	return &slots(c.chunks[number/chunkSlots])[number%chunkSlots]
}

// NoSlot is the number of a Slot that does not outlive the process.
const NoSlot = ^uint32(0)

// Slot returns a Slot that is not in use, all zero, and its number. The number goes
// into a record, so that the next process finds it. The Slot of a nil State, and one
// for which there is no room, is in this process's memory: its number is NoSlot.
func (s *State) Slot() (number uint32, at *Slot) {
	if s == nil {
		return NoSlot, new(Slot)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters
	switch {
	case len(c.free) > 0:
		number, c.free = c.free[0], c.free[1:]
	default:
		if int(c.next) == len(c.chunks)*chunkSlots {
			if err := c.grow(); err != nil {
				s.log.Warn("counters that a kill would lose", "why", err)
				return NoSlot, new(Slot)
			}
		}
		number = c.next
		c.next++
	}
	at = c.slot(number)
	*at = Slot{}
	return number, at
}

// UseSlots tells which slots the records of an earlier process name; each may be named
// once. The others are free. It is called once, before Slot.
func (s *State) UseSlots(numbers []uint32) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters
	used := make([]bool, len(c.chunks)*chunkSlots)
	for _, n := range numbers {
		switch {
		case n == NoSlot:
		case int(n) >= len(used):
			return refuse(configName, "counters number %d are not there", n)
		case used[n]:
			return refuse(configName, "counters number %d are used twice", n)
		default:
			used[n] = true
		}
	}
	c.next = 0
	for n := range used {
		if used[n] {
			c.next = uint32(n + 1)
		}
	}
	c.free = nil
	for n := range c.next {
		if !used[n] {
			c.free = append(c.free, n)
		}
	}
	return nil
}

// SlotAt returns the Slot with a number from an earlier process, and for NoSlot one in
// this process's memory.
func (s *State) SlotAt(number uint32) *Slot {
	if s == nil || number == NoSlot {
		return new(Slot)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters.slot(number)
}

// FreeSlot gives a Slot back, which nobody uses any longer.
func (s *State) FreeSlot(number uint32) {
	if s == nil || number == NoSlot {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.free = append(s.counters.free, number)
}

// close leaves the memory mapped: somebody may still count.
func (c *counters) close() {
	if c != nil {
		_ = c.file.Close()
	}
}

func (c *counters) unmap() {
	if c == nil {
		return
	}
	for _, b := range append(c.chunks, c.head) {
		if b != nil {
			_ = unix.Munmap(b)
		}
	}
	c.chunks, c.head, c.words, c.names = nil, nil, nil, nil
}

// commit returns the words of the commits.
func (c *counters) commit() commit { return commit(c.words[wordCommit : wordCommit+commitWords]) }
