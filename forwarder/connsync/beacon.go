package connsync

import "encoding/binary"

// Beacon is a datagram without entries by which directors of this kind talk about the
// others. To a kernel it says nothing.
type Beacon struct {
	Kind   BeaconKind
	Sender uint64 // random number of the master that sends, or that is asked
	Sent   uint64 // datagrams with entries that the master has sent to this port
	Conns  uint32 // entries in the master's table
}

// BeaconKind is what a Beacon says.
type BeaconKind uint8

// Kinds of beacons.
const (
	Have BeaconKind = 1 // from a master: that it is there, and what it has sent
	Want BeaconKind = 2 // from a backup: that the master is to send all it has
)

const (
	beaconMagic = "uvs1"
	beaconLen   = headerLen + len(beaconMagic) + 4 + 8 + 8 + 4
)

// Append appends a beacon as a datagram.
func (n *Beacon) Append(b []byte, syncID uint8) []byte {
	start := len(b)
	b = append(b, make([]byte, headerLen)...)
	b = append(b, beaconMagic...)
	b = append(b, uint8(n.Kind), 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, n.Sender)
	b = binary.BigEndian.AppendUint64(b, n.Sent)
	b = binary.BigEndian.AppendUint32(b, n.Conns)
	putHeader(b[start:], 1, syncID, 0)
	return b
}

// Beacon reports whether a datagram is a beacon, and what it says.
func (m *Message) Beacon() (n Beacon, ok bool) {
	b := m.rest
	if m.Version != 1 || m.Count != 0 || len(b) != beaconLen-headerLen || string(b[:len(beaconMagic)]) != beaconMagic {
		return n, false
	}
	n.Kind = BeaconKind(b[4])
	n.Sender = binary.BigEndian.Uint64(b[8:])
	n.Sent = binary.BigEndian.Uint64(b[16:])
	n.Conns = binary.BigEndian.Uint32(b[24:])
	return n, n.Kind == Have || n.Kind == Want
}
