// Package connsync is the wire format of connection synchronization, which IPVS has
// between its masters and backups (ip_vs_sync.c): datagrams of entries, each a
// connection or a persistence template. It knows version 1, IPv4 and IPv6 with all
// options, and the older version 0. It is pure: no sockets, no connection table.
//
// Parse reads a datagram's header and Message.Next its entries one by one, with a
// Refusal for whatever the kernel would not take. A Writer collects entries into
// datagrams. Beacons and signatures are this director's own: a kernel sees a
// beacon as a datagram without entries, and drops a signed one.
//
// Nothing here keeps a reference to a buffer, and nothing may be used by two
// goroutines at once.
package connsync

import "uvs/forwarder/frame"

// Flags of an entry (linux/ip_vs.h, IP_VS_CONN_F_*). The low three bits are the
// forwarding method.
const (
	MethodMask   = 0x0007
	Synced       = 0x0020 // it came from a master itself
	NoOutput     = 0x0080
	Inactive     = 0x0100
	OutSeq       = 0x0200
	InSeq        = 0x0400
	NoClientPort = 0x0800
	Template     = 0x1000

	seqFlags = OutSeq | InSeq
	hashed   = 0x0040
	// taken are those that a backup takes from an entry.
	taken = MethodMask | NoOutput | Inactive | seqFlags | NoClientPort | Template
)

// Entry is a connection or a template as it travels. Addresses are as in a
// frame.Flow: IPv4 ones mapped.
type Entry struct {
	V6          bool
	Proto       uint8 // 0 for the template of a firewall mark
	Flags       uint32
	State       uint16
	ClientPort  uint16
	VirtualPort uint16
	RealPort    uint16
	Mark        uint32
	Timeout     uint32 // seconds; 0: that of the state
	Client      [16]byte
	Virtual     [16]byte
	Real        [16]byte

	// HasSeq says that In and Out are there. The flags InSeq and OutSeq say which
	// of them apply; a master sets a flag only with both.
	HasSeq  bool
	In, Out Seq

	PEName, PEData string // of a template: persistence engine and what it goes by

	// Local is the director's address towards the server of a connection by FULLNAT;
	// without a port there is none. A kernel drops entries with this option.
	Local     [16]byte
	LocalPort uint16

	// Numbers say how the numbers of a TCP connection change. A kernel drops
	// entries with this option.
	HasNumbers bool
	Numbers    Numbers

	// Copy says that the sender has the entry from another director and has seen no
	// packet of it. Who has the entry already knows better. A kernel takes it like any.
	Copy bool

	// Bulk says that the entry is one of all that the sender has, and no packet made it
	// send it: it may be out of date, and who has seen packets of the entry knows better.
	// A Copy is always one of these. A kernel takes it like any.
	Bulk bool
}

// Seq says what is added to the sequence numbers of one direction: Delta beyond
// Init, Previous up to it (struct ip_vs_seq).
type Seq struct{ Init, Delta, Previous uint32 }

// Numbers are what the next director needs to change the numbers of a TCP connection
// like this one: of a local port that was used before, or of a connection that a SYN
// proxy began.
type Numbers struct {
	SeqOffset    uint32
	NoTimestamps bool

	Proxied     bool
	Cookie      uint32
	Stamp       uint32
	SACK        bool
	Stamped     bool
	Scale       uint8
	ServerSeq   uint32
	ServerStamp uint32
	ServerScale uint8
}

// Refusal says why a datagram or an entry of it was not taken. The zero value is
// that it was.
type Refusal uint8

// Refusals by Parse and Message.Next.
const (
	Taken Refusal = iota

	// Of the rest of a datagram.
	Short        // it ends within a header, or before the last of its entries
	Size         // its length is not the one it says
	Type         // an entry's type is unknown
	EntryVersion // an entry's version is unknown
	Option       // an option has a wrong length, or is there twice

	// Of one entry.
	UnknownOption // an option must be understood and is not
	PE            // data of a persistence engine without its name, or of an unknown one
	Protocol      // the protocol is not balanced
	State         // the protocol has no such state

	// By Verifier.Check.
	Unsigned // the signature is missing, or made with another key
	Replayed // the datagram is not later than the last one, or the clocks differ

	// By who takes entries into a table.
	Source     // the sender is not on the list
	OtherID    // of another synchronization id
	NoServer   // the destination is none of our servers
	NoLocal    // by FULLNAT, and nobody knows the local address
	LocalTaken // the local port is another connection's
	Stale      // the end of a connection that has been replaced
	Family     // an address of IPv6 stands for one of IPv4
	Method     // there is no such forwarding method
	TableFull  // there is no room for more connections

	// Refusals is how many there are.
	Refusals
)

var refusalNames = [Refusals]string{"", "short", "size", "type", "entry-version", "option", "unknown-option", "pe", "protocol", "state",
	"unsigned", "replayed", "source", "other-id", "no-server", "no-local", "local-taken", "stale", "family", "method", "table-full"}

// String returns a stable name.
func (r Refusal) String() string {
	if r < Refusals {
		return refusalNames[r]
	}
	return "unknown"
}

// Rest reports whether the rest of the datagram is refused too.
func (r Refusal) Rest() bool { return r >= Short && r <= Option }

// How many states a protocol has on the wire (ip_vs.h, IP_VS_*_S_LAST).
const (
	tcpStates  = 11
	sctpStates = 14
)

// templateStates is how many states a template has.
const templateStates = 2

// check applies the checks of a backup on what an entry says: a connection's protocol
// and state must exist. Of a template only the state is looked at.
func (e *Entry) check() Refusal {
	if e.Flags&Template != 0 {
		if e.State >= templateStates {
			return State
		}
		return Taken
	}
	states := uint16(1)
	switch e.Proto {
	case frame.ProtoTCP:
		states = tcpStates
	case frame.ProtoSCTP:
		states = sctpStates
	case frame.ProtoUDP, frame.ProtoAH, frame.ProtoESP:
	default:
		return Protocol
	}
	if e.State >= states {
		return State
	}
	return Taken
}
