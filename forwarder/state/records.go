package state

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Kind says what a record is about.
type Kind uint8

// Key names a record: there is one value of each at a time.
type Key struct {
	Kind   Kind
	Number uint32
}

// records is the log of records. What is written last under a key counts. The log
// grows at its end; what is still valid of its beginning is copied there, a little with
// each commit, so no change costs more because there are many others. The file has the
// log at its offsets, and what lies before it is given back.
//
// A record is, in little-endian order: 4 bytes checksum of all that follows, 4 bytes
// length of the value, 4 bytes number, 1 byte kind, 1 byte 1 if the key has no value any
// longer, 2 bytes zero; then the value.
type records struct {
	file   *os.File
	commit commit

	start, end int64           // of the log
	index      map[uint64]span // by Key.packed
	live       int64           // bytes of the records in index
	staged     []byte          // from end on, not committed yet
	punched    int64           // offset before which the file has no memory
	raw        []byte          // of a log that was read, until the first commit
	head       []byte          // of the log, from headAt on, read in advance
	headAt     int64
}

// span is where a record is.
type span struct {
	at   int64
	size uint32 // with its header
}

const (
	recordHeader = 16
	// maxValue is how long a value can be, in bytes.
	maxValue = 1 << 28
	// spare is how many bytes of the log may be out of date before it is cleaned,
	// besides as many as are valid.
	spare = 64 << 10
	// readAhead is how much of the log's beginning is read at once.
	readAhead = 64 << 10
	// punchStep is how much is given back at once.
	punchStep = 256 << 10
)

func newRecords(p place) (*records, error) {
	f, err := p.create(configName)
	if err != nil {
		return nil, err
	}
	if err := p.put(configName, f); err != nil {
		f.Close()
		return nil, err
	}
	return &records{file: f, index: map[uint64]span{}}, nil
}

func openRecords(p place, c *counters) (*records, error) {
	f, err := p.open(configName)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, refuse(configName, "it is missing")
	}
	r := &records{file: f, commit: c.commit(), index: map[uint64]span{}}
	if err := r.read(); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// read builds the index of what was committed.
func (r *records) read() (err error) {
	if r.start, r.end, err = r.commit.load(); err != nil {
		return err
	}
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if info.Size() < r.end {
		return refuse(configName, "it is truncated: %d bytes of %d", info.Size(), r.end)
	}
	r.punched = r.start &^ (pageSize - 1)
	if err := r.readRaw(); err != nil {
		return err
	}
	for log := r.raw; len(log) > 0; {
		at := r.end - int64(len(log))
		if len(log) < recordHeader {
			return refuse(configName, "the record at %d is cut off", at)
		}
		n := valueLen(log)
		if n > maxValue || int(n) > len(log)-recordHeader {
			return refuse(configName, "the record at %d has %d bytes", at, n)
		}
		if !whole(log[:recordHeader+n]) {
			return refuse(configName, "the record at %d has a wrong checksum", at)
		}
		r.enter(log, at)
		log = log[recordHeader+n:]
	}
	for packed := range r.index {
		if k := unpacked(packed); !k.known() {
			return refuse(configName, "made by a newer uvs: it has a record of kind %d, number %d", k.Kind, k.Number)
		}
	}
	return nil
}

func whole(record []byte) bool {
	return binary.LittleEndian.Uint32(record) == checksum(record[4:]) && record[13] <= 1 && record[14]|record[15] == 0
}

func valueLen(record []byte) uint32 { return binary.LittleEndian.Uint32(record[4:]) }

func keyOf(record []byte) Key { return Key{Kind(record[12]), binary.LittleEndian.Uint32(record[8:])} }

func (k Key) packed() uint64 { return uint64(k.Kind)<<32 | uint64(k.Number) }

func unpacked(k uint64) Key { return Key{Kind(k >> 32), uint32(k)} }

// enter puts a record at an offset into the index.
func (r *records) enter(head []byte, at int64) {
	k := keyOf(head).packed()
	if old, ok := r.index[k]; ok {
		r.live -= int64(old.size)
	}
	if head[13] != 0 {
		delete(r.index, k)
		return
	}
	size := recordHeader + valueLen(head)
	r.index[k] = span{at, size}
	r.live += int64(size)
}

// stage adds a record to what the next commit writes.
func (r *records) stage(k Key, value []byte, gone byte) {
	at := len(r.staged)
	r.staged = append(r.staged, make([]byte, recordHeader)...)
	r.staged = append(r.staged, value...)
	record := r.staged[at:]
	binary.LittleEndian.PutUint32(record[4:], uint32(len(value)))
	binary.LittleEndian.PutUint32(record[8:], k.Number)
	record[12], record[13] = byte(k.Kind), gone
	binary.LittleEndian.PutUint32(record, checksum(record[4:]))
	r.enter(record, r.end+int64(at))
}

// write commits what is staged.
func (r *records) write() error {
	if len(r.staged) == 0 {
		return nil
	}
	start, err := r.clean(r.start, 2*len(r.staged)+pageSize)
	if err != nil {
		return err
	}
	if _, err := r.file.WriteAt(r.staged, r.end); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	r.end += int64(len(r.staged))
	r.start = start
	r.raw = nil
	if r.staged = r.staged[:0]; cap(r.staged) > readAhead {
		r.staged = nil
	}
	r.commit.store(r.start, r.end)
	r.punch()
	return nil
}

// clean stages again what is valid of the first n bytes of the log, if much of the log
// is out of date, and returns where the log begins after that.
func (r *records) clean(from int64, n int) (int64, error) {
	for last := from + int64(n); from < last && from < r.end && r.end-from-r.live > max(r.live, spare); {
		record, err := r.recordAt(from)
		if err != nil {
			return from, err
		}
		if now, ok := r.index[keyOf(record).packed()]; ok && now.at == from {
			r.enter(record, r.end+int64(len(r.staged)))
			r.staged = append(r.staged, record...)
		}
		from += int64(len(record))
	}
	return from, nil
}

// recordAt returns a committed record, until the next call.
func (r *records) recordAt(at int64) ([]byte, error) {
	if b := r.ahead(at); len(b) >= recordHeader {
		if n := recordHeader + int(valueLen(b)); n <= len(b) {
			return b[:n], nil
		}
	}
	size := int64(readAhead)
	var head [recordHeader]byte
	if _, err := r.file.ReadAt(head[:], at); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	n := recordHeader + int64(valueLen(head[:]))
	size = min(max(size, n), r.end-at)
	r.head, r.headAt = slices.Grow(r.head[:0], int(size))[:size], at
	if _, err := r.file.ReadAt(r.head, at); err != nil {
		r.head = nil
		return nil, fmt.Errorf("state: %w", err)
	}
	if n > size {
		return nil, fmt.Errorf("state: a record at %d has changed", at)
	}
	return r.head[:n], nil
}

// ahead returns what was read in advance from an offset on.
func (r *records) ahead(at int64) []byte {
	if at < r.headAt || at >= r.headAt+int64(len(r.head)) {
		return nil
	}
	return r.head[at-r.headAt:]
}

// punch gives back the memory before the log. Where the file system cannot, it stays.
func (r *records) punch() {
	to := r.start &^ (pageSize - 1)
	if to-r.punched < punchStep {
		return
	}
	_ = unix.Fallocate(int(r.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.punched, to-r.punched)
	r.punched = to
}

// readRaw reads the whole log, unless that was done.
func (r *records) readRaw() error {
	if r.raw != nil {
		return nil
	}
	r.raw = make([]byte, r.end-r.start)
	if _, err := r.file.ReadAt(r.raw, r.start); err != nil {
		return fmt.Errorf("state: %s: %w", configName, err)
	}
	return nil
}

// value returns the committed value of a key.
func (r *records) value(k Key) []byte {
	at := r.index[k.packed()]
	from := at.at - r.start + recordHeader
	return r.raw[from : from+int64(at.size)-recordHeader]
}

func (r *records) close() {
	if r != nil {
		_ = r.file.Close()
	}
}

// Change gives a key a value of at most 256 MiB, or takes its value away if it is nil.
type Change struct {
	Key   Key
	Value []byte
}

// Commit makes changes. A kill leaves all of them or none. Where there is no room for
// them they are made with the next Commit, which may have none of its own; that is
// logged once.
func (s *State) Commit(changes ...Change) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		if c.Value != nil {
			s.records.stage(c.Key, c.Value, 0)
		} else if _, ok := s.records.index[c.Key.packed()]; ok {
			s.records.stage(c.Key, nil, 1)
		}
	}
	err := s.records.write()
	switch lacking := err != nil; {
	case lacking && !s.lacking:
		s.log.Error("a kill would lose the last changes of the configuration; trying again with the next one", "event", "state-not-kept", "why", err)
	case !lacking && s.lacking:
		s.log.Info("the configuration is kept again", "event", "state-kept-again")
	}
	s.lacking = err != nil
}

// Records returns the committed values of a kind, in the order of their numbers. The
// values must not be changed.
func (s *State) Records(kind Kind) (all []Record, err error) {
	if s == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.records.readRaw(); err != nil {
		return nil, err
	}
	for packed, at := range s.records.index {
		if k := unpacked(packed); k.Kind == kind && at.at < s.records.end {
			all = append(all, Record{k.Number, s.records.value(k)})
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Number, b.Number) })
	return all, nil
}

// Record returns the committed value of a key, nil if it has none.
func (s *State) Record(k Key) []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.records.index[k.packed()]
	if !ok || at.at >= s.records.end || s.records.readRaw() != nil {
		return nil
	}
	return s.records.value(k)
}

// Empty reports whether nothing was configured, by what Put and Delete left.
func (s *State) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for packed := range s.records.index {
		if unpacked(packed).Kind != Director {
			return false
		}
	}
	return true
}

// Record is the value under a Key.
type Record struct {
	Number uint32
	Value  []byte
}
