package frame

// Verdict is the director's decision about a frame. Every stage between Port.Recv and
// Port.Send returns one, and each has a counter, so no frame disappears uncounted. The
// names are stable: `uvs stats` prints them.
type Verdict uint8

// Verdicts that are not drops.
const (
	// Continue means that the frame goes on to the next stage.
	Continue Verdict = iota
	// Forward means that the frame is sent on, rewritten.
	Forward
	// Pass means that the frame is not for the director and is left to the host.
	Pass
	// Answered means that the director replied itself (ARP, ICMP, RST).
	Answered
	// Queued means that the frame waits: for its next hop's MAC address, for the guard to
	// know of its connection, for the server to answer the SYN proxy, or for the other
	// fragments of its datagram. Its counter counts those that were then sent on.
	Queued
	// GoneReset means that the director ended the frame's connection, whose server
	// is gone: it sent RST or ABORT to both ends.
	GoneReset
	// GoneICMP means that it told the client by ICMP that the server is gone.
	GoneICMP
	// SYNCookie means that a SYN proxy answered a SYN with a cookie.
	SYNCookie
	// ProxyOpened means that the segment brought back a cookie, and that the director
	// opens its connection to a server.
	ProxyOpened
	// ProxyAnswered means that the segment is a server's answer to that, which the client
	// does not get.
	ProxyAnswered
	// CookieRefused means that the segment belongs to no connection and brought back no
	// cookie, and that its sender was told by a reset.
	CookieRefused

	firstDrop
)

// Reasons to drop a frame.
const (
	DropTruncated          Verdict = firstDrop + iota // frame ends before its headers do, or the ring cut it
	DropMalformed                                     // lengths or header fields contradict each other
	DropBadChecksum                                   // checksum of the IPv4 header, or of an ICMP error, is wrong
	DropARP                                           // ARP message that is not valid IPv4 over Ethernet
	DropNoServer                                      // service has no usable server and the client was not told
	DropServerGone                                    // connection's server was removed
	DropTTL                                           // TTL or hop limit used up and no answer may be sent
	DropTooBig                                        // larger than the MTU and no answer may be sent
	DropNoRoute                                       // no route to the next hop
	DropNoNeighbour                                   // next hop did not answer ARP or NDP
	DropNeighbourQueue                                // too many frames wait for the next hop
	DropConnTableFull                                 // no room for another connection
	DropNoLocalPort                                   // FULLNAT: local addresses or ports used up
	DropFragmentTimeout                               // fragments of a datagram did not all arrive in time
	DropFragmentMemory                                // too many unfinished datagrams
	DropFragmentBad                                   // fragments overlap or exceed 65535 bytes
	DropFragmentDup                                   // fragment came before
	DropICMPRate                                      // an ICMP answer was due but rate-limited
	DropUnsupported                                   // the forwarding method cannot carry it
	DropState                                         // segment without a connection that may not open one
	DropSend                                          // the kernel refused the frame
	DropNoMemory                                      // out of buffers for frames the director makes
	DropOverload                                      // dropped on purpose by drop_packet or drop_entry
	DropNoCallID                                      // service is persistent by Call-ID and the packet has none
	DropMartianSource                                 // source that no packet from outside can have
	DropMartianDestination                            // destination that no packet from outside can have
	DropRPFilter                                      // the route back to its source is through another interface
	DropSourceRoute                                   // has a source route, which is not accepted
	DropIPOptions                                     // IP options are malformed and the sender was not told
	DropSegments                                      // more segments in one than any sender makes
	DropEarly                                         // came before the server answered the SYN proxy, and cannot wait
	DropKilled                                        // was at hand or waited when the director was killed

	verdicts
)

// Verdicts is the number of verdicts; counters are arrays of this length.
const Verdicts = int(verdicts)

var verdictNames = [Verdicts]string{
	Continue:               "continue",
	Forward:                "forward",
	Pass:                   "pass",
	Answered:               "answered",
	Queued:                 "queued",
	GoneReset:              "gone-reset",
	GoneICMP:               "gone-icmp",
	SYNCookie:              "syn-cookie",
	ProxyOpened:            "synproxy-opened",
	ProxyAnswered:          "synproxy-answered",
	CookieRefused:          "synproxy-refused",
	DropTruncated:          "drop-truncated",
	DropMalformed:          "drop-malformed",
	DropBadChecksum:        "drop-bad-checksum",
	DropARP:                "drop-arp",
	DropNoServer:           "drop-no-server",
	DropServerGone:         "drop-server-gone",
	DropTTL:                "drop-ttl",
	DropTooBig:             "drop-too-big",
	DropNoRoute:            "drop-no-route",
	DropNoNeighbour:        "drop-no-neighbour",
	DropNeighbourQueue:     "drop-neighbour-queue",
	DropConnTableFull:      "drop-conn-table-full",
	DropNoLocalPort:        "drop-no-local-port",
	DropFragmentTimeout:    "drop-fragment-timeout",
	DropFragmentMemory:     "drop-fragment-memory",
	DropFragmentBad:        "drop-fragment-bad",
	DropFragmentDup:        "drop-fragment-dup",
	DropICMPRate:           "drop-icmp-rate",
	DropUnsupported:        "drop-unsupported",
	DropState:              "drop-state",
	DropSend:               "drop-send",
	DropNoMemory:           "drop-no-memory",
	DropOverload:           "drop-overload",
	DropNoCallID:           "drop-no-call-id",
	DropMartianSource:      "drop-martian-source",
	DropMartianDestination: "drop-martian-destination",
	DropRPFilter:           "drop-rp-filter",
	DropSourceRoute:        "drop-source-route",
	DropIPOptions:          "drop-ip-options",
	DropSegments:           "drop-segments",
	DropEarly:              "drop-early",
	DropKilled:             "drop-killed",
}

// String returns the stable name of the verdict.
func (v Verdict) String() string {
	if int(v) < Verdicts && verdictNames[v] != "" {
		return verdictNames[v]
	}
	return "verdict" + itoa(uint8(v))
}

// IsDrop reports whether the frame ends here without an answer.
func (v Verdict) IsDrop() bool { return v >= firstDrop }
