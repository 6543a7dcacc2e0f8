// Package pcapng writes and reads captures in the pcapng format (draft-ietf-opsawg-pcapng)
// with a comment and the direction of each packet, which Wireshark and tshark show. gopacket's
// writer has neither. It knows the section header, interface descriptions, enhanced packets
// and statistics; a Reader skips other blocks.
package pcapng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Block types and options.
const (
	sectionHeader  = 0x0a0d0d0a
	interfaceBlock = 1
	statisticBlock = 5
	packetBlock    = 6
	byteOrder      = 0x1a2b3c4d

	optEnd           = 0
	optComment       = 1
	optFlags         = 2 // of a packet
	optIfName        = 2 // of an interface
	optIfDescription = 3
	optTsResol       = 9
	optAppl          = 4
	optReceived      = 4 // of statistics
	optDropped       = 5

	linkEthernet = 1
	// maxBlock is more than any block has that is written here, in bytes.
	maxBlock = 1 << 24
)

// Packet is a captured frame.
type Packet struct {
	Interface string
	Time      time.Time
	Frame     []byte
	Length    int // on the wire, if Frame is the beginning of a longer one; 0: that of Frame
	Flags     Flags
	Comment   string
}

// Flags say how a frame passed its interface (epb_flags, section 4.3).
type Flags uint32

// Flags: the direction, and to whom a frame was addressed.
const (
	Inbound   Flags = 1
	Outbound  Flags = 2
	Unicast   Flags = 1 << 2
	Multicast Flags = 2 << 2
	Broadcast Flags = 3 << 2
	ToOthers  Flags = 4 << 2 // received although it is addressed to another host
)

// Writer writes a capture. Interfaces are described when they first appear.
type Writer struct {
	w     io.Writer
	known map[string]uint32
}

// NewWriter writes the beginning of a capture, made by application.
func NewWriter(w io.Writer, application string) (*Writer, error) {
	body := binary.LittleEndian.AppendUint32(nil, byteOrder)
	body = binary.LittleEndian.AppendUint16(body, 1)
	body = binary.LittleEndian.AppendUint16(body, 0)
	body = binary.LittleEndian.AppendUint64(body, ^uint64(0)) // length of the section: not said
	body = option(body, optAppl, []byte(application))
	body = option(body, optEnd, nil)
	return &Writer{w: w, known: map[string]uint32{}}, block(w, sectionHeader, body)
}

// Write writes one packet.
func (w *Writer) Write(p *Packet) error {
	if err := w.Describe(p.Interface, ""); err != nil {
		return err
	}
	body := binary.LittleEndian.AppendUint32(nil, w.known[p.Interface])
	body = moment(body, p.Time)
	body = binary.LittleEndian.AppendUint32(body, uint32(len(p.Frame)))
	body = binary.LittleEndian.AppendUint32(body, uint32(max(p.Length, len(p.Frame))))
	body = padded(append(body, p.Frame...))
	if p.Comment != "" {
		body = option(body, optComment, []byte(p.Comment[:min(len(p.Comment), 65535)]))
	}
	if p.Flags != 0 {
		body = option(body, optFlags, binary.LittleEndian.AppendUint32(nil, uint32(p.Flags)))
	}
	if p.Comment != "" || p.Flags != 0 {
		body = option(body, optEnd, nil)
	}
	return block(w.w, packetBlock, body)
}

// moment appends a time in nanoseconds, as its two halves.
func moment(b []byte, t time.Time) []byte {
	at := uint64(t.UnixNano())
	b = binary.LittleEndian.AppendUint32(b, uint32(at>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(at))
}

// Statistics writes how many frames of an interface were received, and how many of these are
// missing because they came too fast.
func (w *Writer) Statistics(name string, at time.Time, received, dropped uint64) error {
	if err := w.Describe(name, ""); err != nil {
		return err
	}
	body := moment(binary.LittleEndian.AppendUint32(nil, w.known[name]), at)
	body = option(body, optReceived, binary.LittleEndian.AppendUint64(nil, received))
	body = option(body, optDropped, binary.LittleEndian.AppendUint64(nil, dropped))
	return block(w.w, statisticBlock, option(body, optEnd, nil))
}

// Describe writes the description of an interface, whose times are in nanoseconds, unless it
// has been written.
func (w *Writer) Describe(name, text string) error {
	if _, ok := w.known[name]; ok {
		return nil
	}
	w.known[name] = uint32(len(w.known))
	body := binary.LittleEndian.AppendUint16(nil, linkEthernet)
	body = binary.LittleEndian.AppendUint16(body, 0)
	body = binary.LittleEndian.AppendUint32(body, 0) // no limit to the length of a frame
	body = option(body, optIfName, []byte(name))
	if text != "" {
		body = option(body, optIfDescription, []byte(text))
	}
	body = option(body, optTsResol, []byte{9})
	body = option(body, optEnd, nil)
	return block(w.w, interfaceBlock, body)
}

// block writes a block with both of its lengths.
func block(w io.Writer, kind uint32, body []byte) error {
	n := uint32(len(body) + 12)
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, n)
	b = append(b, body...)
	_, err := w.Write(binary.LittleEndian.AppendUint32(b, n))
	return err
}

func option(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return padded(append(b, value...))
}

// padded adds zeros up to a multiple of 4 bytes.
func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// ErrFormat is wrapped by errors about what is no capture in this format.
var ErrFormat = errors.New("no pcapng capture")

// Reader reads a capture that a Writer wrote, or another program of the same byte order.
type Reader struct {
	r     io.Reader
	names []string
	begun bool
}

// NewReader returns a reader of a capture.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next packet, and io.EOF at the end.
func (r *Reader) Next() (*Packet, error) {
	for {
		kind, body, err := r.block()
		if err != nil {
			return nil, err
		}
		switch {
		case !r.begun && (kind != sectionHeader || len(body) < 4 || binary.LittleEndian.Uint32(body) != byteOrder):
			return nil, fmt.Errorf("%w, or not in little-endian order", ErrFormat)
		case kind == sectionHeader:
			r.begun, r.names = true, nil
		case kind == interfaceBlock && len(body) >= 8:
			name := fmt.Sprintf("interface %d", len(r.names))
			if v := find(body[8:], optIfName); v != nil {
				name = string(v)
			}
			r.names = append(r.names, name)
		case kind == packetBlock:
			return r.packet(body)
		}
	}
}

func (r *Reader) block() (kind uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || !r.begun {
			err = fmt.Errorf("%w: it ends too early", ErrFormat)
		}
		return 0, nil, err
	}
	kind, n := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if n < 12 || n%4 != 0 || n > maxBlock {
		return 0, nil, fmt.Errorf("%w: a block of %d bytes", ErrFormat, n)
	}
	body = make([]byte, n-8)
	if _, err := io.ReadFull(r.r, body); err != nil {
		return 0, nil, fmt.Errorf("%w: it ends too early", ErrFormat)
	}
	return kind, body[:n-12], nil
}

func (r *Reader) packet(body []byte) (*Packet, error) {
	if len(body) < 20 {
		return nil, fmt.Errorf("%w: a packet without a header", ErrFormat)
	}
	id, n := binary.LittleEndian.Uint32(body), binary.LittleEndian.Uint32(body[12:])
	if int(id) >= len(r.names) || uint64(n) > uint64(len(body)-20) {
		return nil, fmt.Errorf("%w: a packet of interface %d with %d bytes", ErrFormat, id, n)
	}
	at := uint64(binary.LittleEndian.Uint32(body[4:]))<<32 | uint64(binary.LittleEndian.Uint32(body[8:]))
	p := &Packet{Interface: r.names[id], Time: time.Unix(0, int64(at)), Frame: body[20 : 20+n],
		Length: int(binary.LittleEndian.Uint32(body[16:]))}
	if end := 20 + int(n+3)&^3; end <= len(body) {
		p.Comment = string(find(body[end:], optComment))
		if v := find(body[end:], optFlags); len(v) == 4 {
			p.Flags = Flags(binary.LittleEndian.Uint32(v))
		}
	}
	return p, nil
}

// find returns the value of an option, nil if there is none.
func find(b []byte, code uint16) []byte {
	for len(b) >= 4 {
		kind, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if b = b[4:]; kind == optEnd || n > len(b) {
			return nil
		}
		if kind == code {
			return b[:n]
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}
