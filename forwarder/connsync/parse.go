package connsync

import (
	"encoding/binary"
	"net/netip"
)

// Sizes in bytes.
const (
	headerLen   = 8
	headerLenV0 = 4
	entryLenV4  = 36
	entryLenV6  = 72
	entryLenV0  = 24
	fixedLen    = 24 // of an entry of version 1 before its addresses
	seqLen      = 24
)

// Types of options. A kernel knows the first three; one with the bit optionMaySkip is
// skipped by whoever does not know it, an entry with any other is dropped.
const (
	optSeq    = 1
	optPEData = 2
	optPEName = 3

	optLocal   = 0x20
	optNumbers = 0x21
	optCopy    = 0x22 // always with optionMaySkip

	optionMaySkip = 0x40

	// What optCopy has as its data. A director that does not know the second takes it for
	// the first.
	copyUntouched = 0
	copyBulk      = 1

	maxPEData = 255
	maxPEName = 16
)

// Message is a datagram that is being read.
type Message struct {
	Version uint8 // 0 or 1
	SyncID  uint8
	Count   int // of entries, as the header says

	read int
	rest []byte // from the next entry
}

// Parse reads the header of a datagram. What is not of version 1 is of version 0, as
// for the kernel.
func Parse(b []byte) (m Message, r Refusal) {
	if len(b) < headerLenV0 {
		return m, Short
	}
	m.SyncID = b[1]
	if int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return m, Size
	}
	if len(b) >= headerLen && b[0] == 0 && b[5] == 1 && b[6] == 0 && b[7] == 0 {
		m.Version, m.Count, m.rest = 1, int(b[4]), b[headerLen:]
		return m, Taken
	}
	m.Count, m.rest = int(b[0]), b[headerLenV0:]
	return m, Taken
}

// Next reads the next entry into e. It reports false at the end of the datagram, which
// also comes after a Refusal of the rest.
func (m *Message) Next(e *Entry) (r Refusal, ok bool) {
	if m.read == m.Count {
		return Taken, false
	}
	m.read++
	*e = Entry{}
	if m.Version == 0 {
		r = m.nextV0(e)
	} else {
		r = m.nextV1(e)
	}
	if r.Rest() {
		m.read = m.Count
	}
	return r, true
}

func (m *Message) nextV1(e *Entry) Refusal {
	b := m.rest
	if len(b) < entryLenV4 {
		return Short
	}
	size := int(binary.BigEndian.Uint16(b[2:]) & 0xfff)
	switch {
	case size > len(b):
		return Short
	case b[2]>>4 != 0:
		return EntryVersion
	case b[0] > 1:
		return Type
	}
	e.V6 = b[0] == 1
	at := fixedLen
	if least := e.fixed(); size < least {
		return Short
	}
	e.Proto = b[1]
	e.Flags = binary.BigEndian.Uint32(b[4:]) & taken
	e.State = binary.BigEndian.Uint16(b[8:])
	e.ClientPort = binary.BigEndian.Uint16(b[10:])
	e.VirtualPort = binary.BigEndian.Uint16(b[12:])
	e.RealPort = binary.BigEndian.Uint16(b[14:])
	e.Mark = binary.BigEndian.Uint32(b[16:])
	e.Timeout = binary.BigEndian.Uint32(b[20:])
	for _, a := range []*[16]byte{&e.Client, &e.Virtual, &e.Real} {
		at += getAddr(a, b[at:], e.V6)
	}
	m.rest = b[min((size+3)&^3, len(b)):]
	if r := e.options(b[at:size]); r != Taken {
		return r
	}
	return e.check()
}

// fixed returns the length of an entry without options.
func (e *Entry) fixed() int {
	if e.V6 {
		return entryLenV6
	}
	return entryLenV4
}

// getAddr reads an address and returns its length.
func getAddr(to *[16]byte, b []byte, v6 bool) int {
	if v6 {
		*to = [16]byte(b)
		return 16
	}
	*to = netip.AddrFrom4([4]byte(b)).As16()
	return 4
}

// options reads the options of an entry.
func (e *Entry) options(b []byte) Refusal {
	var seen [256]bool
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || int(b[1]) > len(b)-2 {
			return Option
		}
		kind, data := b[0]&^optionMaySkip, b[2:2+int(b[1])]
		known, valid := e.option(kind, data)
		switch {
		case !known && b[0]&optionMaySkip == 0:
			return UnknownOption
		case known && kind >= optLocal && (!valid || kind == optCopy && b[0] == kind):
			return UnknownOption // to a kernel it is one
		case known && (!valid || seen[kind]):
			return Option
		}
		seen[kind] = true
		b = b[2+int(b[1]):]
	}
	if e.PEData != "" && e.PEName == "" {
		return PE
	}
	if e.Flags&Template == 0 || e.PEData == "" {
		e.PEName, e.PEData = "", ""
	}
	return Taken
}

// option reads one option. It reports whether it is known, and well formed.
func (e *Entry) option(kind uint8, b []byte) (known, valid bool) {
	switch kind {
	case optSeq:
		if len(b) != seqLen {
			return true, false
		}
		e.HasSeq, e.In, e.Out = true, getSeq(b, binary.BigEndian), getSeq(b[12:], binary.BigEndian)
	case optPEData:
		e.PEData = string(b)
	case optPEName:
		if len(b) > maxPEName {
			return true, false
		}
		e.PEName = string(b)
	case optLocal:
		if want := e.localLen(); len(b) != want {
			return true, false
		}
		e.LocalPort = binary.BigEndian.Uint16(b)
		getAddr(&e.Local, b[2:], e.V6)
		return true, e.LocalPort != 0
	case optNumbers:
		return true, e.getNumbers(b)
	case optCopy:
		e.Bulk = b[0] == copyBulk
		e.Copy = !e.Bulk
	default:
		return false, false
	}
	return true, true
}

func (e *Entry) localLen() int {
	if e.V6 {
		return 2 + 16
	}
	return 2 + 4
}

func getSeq(b []byte, order binary.ByteOrder) Seq {
	return Seq{Init: order.Uint32(b), Delta: order.Uint32(b[4:]), Previous: order.Uint32(b[8:])}
}

// nextV0 reads an entry of version 0. It has no timeout and no mark, and its sequence
// numbers are in the byte order of the machine that sent it.
func (m *Message) nextV0(e *Entry) Refusal {
	b := m.rest
	if len(b) < entryLenV0 {
		return Short
	}
	e.Proto = b[1]
	e.ClientPort = binary.BigEndian.Uint16(b[2:])
	e.VirtualPort = binary.BigEndian.Uint16(b[4:])
	e.RealPort = binary.BigEndian.Uint16(b[6:])
	getAddr(&e.Client, b[8:], false)
	getAddr(&e.Virtual, b[12:], false)
	getAddr(&e.Real, b[16:], false)
	e.Flags = uint32(binary.BigEndian.Uint16(b[20:])) & taken
	e.State = binary.BigEndian.Uint16(b[22:])
	size := entryLenV0
	if e.Flags&seqFlags != 0 {
		if size += seqLen; len(b) < size {
			return Short
		}
		e.HasSeq = true
		e.In, e.Out = getSeq(b[entryLenV0:], binary.NativeEndian), getSeq(b[entryLenV0+12:], binary.NativeEndian)
	}
	m.rest = b[size:]
	if e.Flags&Template != 0 {
		e.State = 0
	}
	return e.check()
}
