package connsync

import (
	"encoding/binary"
)

// MaxEntryLen is the most bytes that an entry takes.
const MaxEntryLen = entryLenV6 + 2 + seqLen + 2 + maxPEData + 2 + maxPEName + 2 + 18 + 2 + numbersLen + 3

// Append appends an entry in a version of the format, without padding. An entry that
// version 0 cannot express appends nothing: one of IPv6, or with what only this
// director knows.
func (e *Entry) Append(b []byte, version uint8) []byte {
	if version == 0 {
		return e.appendV0(b)
	}
	start := len(b)
	kind := uint8(0)
	if e.V6 {
		kind = 1
	}
	b = append(b, kind, e.Proto, 0, 0)
	b = binary.BigEndian.AppendUint32(b, e.Flags&^hashed)
	b = binary.BigEndian.AppendUint16(b, e.State)
	b = binary.BigEndian.AppendUint16(b, e.ClientPort)
	b = binary.BigEndian.AppendUint16(b, e.VirtualPort)
	b = binary.BigEndian.AppendUint16(b, e.RealPort)
	b = binary.BigEndian.AppendUint32(b, e.Mark)
	b = binary.BigEndian.AppendUint32(b, e.Timeout)
	b = appendAddr(b, &e.Client, e.V6)
	b = appendAddr(b, &e.Virtual, e.V6)
	b = appendAddr(b, &e.Real, e.V6)
	b = e.appendOptions(b)
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

func (e *Entry) appendOptions(b []byte) []byte {
	if e.HasSeq {
		b = append(b, optSeq, seqLen)
		b = appendSeq(appendSeq(b, &e.In, binary.BigEndian), &e.Out, binary.BigEndian)
	}
	if e.PEData != "" {
		data := e.PEData[:min(len(e.PEData), maxPEData)]
		b = append(append(b, optPEData, uint8(len(data))), data...)
		name := e.PEName[:min(len(e.PEName), maxPEName)]
		b = append(append(b, optPEName, uint8(len(name))), name...)
	}
	if e.LocalPort != 0 {
		b = append(b, optLocal, uint8(e.localLen()))
		b = binary.BigEndian.AppendUint16(b, e.LocalPort)
		b = appendAddr(b, &e.Local, e.V6)
	}
	if e.HasNumbers {
		b = e.Numbers.append(append(b, optNumbers, numbersLen))
	}
	switch {
	case e.Copy:
		b = append(b, optCopy|optionMaySkip, 1, copyUntouched)
	case e.Bulk:
		b = append(b, optCopy|optionMaySkip, 1, copyBulk)
	}
	return b
}

func appendAddr(b []byte, a *[16]byte, v6 bool) []byte {
	if v6 {
		return append(b, a[:]...)
	}
	return append(b, a[12:]...)
}

func appendSeq(b []byte, s *Seq, order binary.AppendByteOrder) []byte {
	return order.AppendUint32(order.AppendUint32(order.AppendUint32(b, s.Init), s.Delta), s.Previous)
}

func (e *Entry) appendV0(b []byte) []byte {
	if e.V6 || e.LocalPort != 0 || e.HasNumbers {
		return b
	}
	b = append(b, 0, e.Proto)
	b = binary.BigEndian.AppendUint16(b, e.ClientPort)
	b = binary.BigEndian.AppendUint16(b, e.VirtualPort)
	b = binary.BigEndian.AppendUint16(b, e.RealPort)
	b = appendAddr(b, &e.Client, false)
	b = appendAddr(b, &e.Virtual, false)
	b = appendAddr(b, &e.Real, false)
	b = binary.BigEndian.AppendUint16(b, uint16(e.Flags&^hashed))
	b = binary.BigEndian.AppendUint16(b, e.State)
	if e.Flags&seqFlags != 0 {
		b = appendSeq(appendSeq(b, &e.In, binary.NativeEndian), &e.Out, binary.NativeEndian)
	}
	return b
}

// Writer collects the entries of one datagram.
type Writer struct {
	Version uint8
	SyncID  uint8
	MaxLen  int // of a datagram in bytes

	b     []byte
	count int
}

// maxCount is how many entries a datagram has room for in its header.
const maxCount = 255

// Add adds an entry that Entry.Append made in the Writer's version. It reports false,
// and adds nothing, if the datagram is full: send it, and try again. An empty datagram
// takes any entry.
func (w *Writer) Add(entry []byte) bool {
	if w.count == 0 {
		w.b = append(w.b[:0], make([]byte, w.headerLen())...)
	}
	padding := 0
	if w.Version != 0 {
		padding = -len(w.b) & 3
	}
	if w.count > 0 && (len(w.b)+padding+len(entry) > w.MaxLen || w.count == maxCount) {
		return false
	}
	w.b = append(w.b, zeros[:padding]...)
	w.b = append(w.b, entry...)
	w.count++
	return true
}

var zeros [4]byte

func (w *Writer) headerLen() int {
	if w.Version == 0 {
		return headerLenV0
	}
	return headerLen
}

// Count returns how many entries wait.
func (w *Writer) Count() int { return w.count }

// Datagram returns the datagram, and begins another. It is valid until the next Add.
func (w *Writer) Datagram() []byte {
	putHeader(w.b, w.Version, w.SyncID, w.count)
	w.count = 0
	return w.b
}

func putHeader(b []byte, version, syncID uint8, count int) {
	b[1] = syncID
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	if version == 0 {
		b[0] = uint8(count)
		return
	}
	b[0], b[4], b[5], b[6], b[7] = 0, uint8(count), 1, 0, 0
}

// Mapped reports whether an address is of IPv4.
func Mapped(a *[16]byte) bool { return [12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff} }
