package frame

// Lengths of SCTP's parts and its chunk types (RFC 9260 section 3).
const (
	SCTPHeaderLen = 12 // the common header
	SCTPChunkLen  = 4  // a chunk's header; a packet has one chunk at least

	SCTPInit             = 1
	SCTPInitAck          = 2
	SCTPAbort            = 6
	SCTPShutdown         = 7
	SCTPShutdownAck      = 8
	SCTPError            = 9
	SCTPCookieEcho       = 10
	SCTPCookieAck        = 11
	SCTPShutdownComplete = 14
)

// SCTPChunk returns the type of the first chunk of an SCTP packet, where l4 begins with
// the common header, and false if there is none.
func SCTPChunk(l4 []byte) (kind uint8, ok bool) {
	if len(l4) < SCTPHeaderLen+SCTPChunkLen {
		return 0, false
	}
	return l4[SCTPHeaderLen], true
}
