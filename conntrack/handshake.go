package conntrack

import "sync/atomic"

// NoScale stands for the shift of a window that is not scaled (RFC 7323 section 2.3
// allows 0 to 14).
const NoScale = 15

// Handshake is what a SYN proxy has agreed with a client in the place of a server that
// it asks only afterwards. The zero value stands for none.
type Handshake struct {
	Made    bool
	Cookie  uint32 // sequence number of the SYN that the client got
	SACK    bool   // selective acknowledgements are permitted
	Stamped bool   // segments carry time stamps
	Stamp   uint32 // the one that the client got with the SYN
	Scale   uint8  // shift of the client's windows, or NoScale
}

// Distance says how the numbers of a server are changed for the client of a connection
// that a SYN proxy began, and the client's acknowledgements in reverse.
type Distance struct {
	Seq    uint32 // to add to the server's sequence numbers
	Stamp  uint32 // to add to its time stamps; 0 also if there are none
	Client uint8  // shift of the client's windows, or NoScale
	Server uint8  // shift of the server's, or NoScale
}

// Marks of a handshake: what a SYN proxy and a client agreed, and whether the server has
// answered.
const (
	proxied   = 1 << iota // with the client
	opening               // the server has not answered yet
	stamped               // segments carry time stamps
	selective             // selective acknowledgements are permitted

	clientScaleShift = 16
	serverScaleShift = 20
	scaleMask        = 15

	// agreed are those that do not change while a connection is in the table.
	agreed = proxied | stamped | selective | scaleMask<<clientScaleShift
)

// begin stores the handshake of an entry that is not in the table yet.
func (e *ending) begin(h *Handshake) {
	if !h.Made {
		return
	}
	e.cookie, e.stamp = h.Cookie, h.Stamp
	e.handshake |= proxied | opening | uint32(h.Scale)<<clientScaleShift | NoScale<<serverScaleShift
	if h.Stamped {
		e.handshake |= stamped
	}
	if h.SACK {
		e.handshake |= selective
	}
}

// Opening reports whether a SYN proxy began the connection with its client and the
// server has not answered yet, and what it told the client.
func (t *Table) Opening(c *Conn) (h Handshake, ok bool) {
	if !c.Has(Renumbered) {
		return h, false
	}
	e := t.ending(c)
	marks := atomic.LoadUint32(&e.handshake)
	if marks&opening == 0 {
		return h, false
	}
	return Handshake{Made: true, Cookie: e.cookie, Stamp: e.stamp, Stamped: marks&stamped != 0, SACK: marks&selective != 0,
		Scale: uint8(marks >> clientScaleShift & scaleMask)}, true
}

// Answer stores the sequence number, time stamp and window shift of the SYN with which
// the server of an Opening connection answers. It reports false, and changes nothing,
// if the server has answered before.
func (t *Table) Answer(c *Conn, seq, stamp uint32, scale uint8) bool {
	e := t.ending(c)
	for {
		marks := atomic.LoadUint32(&e.handshake)
		if marks&opening == 0 {
			return false
		}
		atomic.StoreUint32(&e.serverSeq, seq)
		atomic.StoreUint32(&e.serverStamp, stamp)
		next := marks&^(opening|scaleMask<<serverScaleShift) | uint32(scale)<<serverScaleShift
		if atomic.CompareAndSwapUint32(&e.handshake, marks, next) {
			return true
		}
	}
}

// Distance returns how the numbers of a connection change. It reports false for one
// that no SYN proxy began.
func (t *Table) Distance(c *Conn) (d Distance, ok bool) {
	e := t.ending(c)
	marks := atomic.LoadUint32(&e.handshake)
	if marks&(proxied|opening) != proxied {
		return d, false
	}
	d.Seq = e.cookie - atomic.LoadUint32(&e.serverSeq)
	if at := atomic.LoadUint32(&e.serverStamp); marks&stamped != 0 && at != 0 {
		d.Stamp = e.stamp - at
	}
	d.Client, d.Server = uint8(marks>>clientScaleShift&scaleMask), uint8(marks>>serverScaleShift&scaleMask)
	return d, true
}

// Proxied reports whether a SYN proxy began the connection.
func (t *Table) Proxied(c *Conn) bool {
	return c.Has(Renumbered) && atomic.LoadUint32(&t.ending(c).handshake)&proxied != 0
}
