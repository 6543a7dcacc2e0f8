package conntrack

import (
	"encoding/binary"

	"uvs/forwarder/frame"
)

// States of an SCTP association as its server sees them, in the kernel's order
// (linux/net/ip_vs.h, IP_VS_SCTP_S_*). SCTPInit1 and SCTPRejected are there for
// their shorter timeouts.
const (
	SCTPNone             State = iota
	SCTPInit1                  // first INIT of the client
	SCTPInit                   // another INIT of the client
	SCTPCookieSent             // INIT ACK of the server
	SCTPCookieReplied          // COOKIE ECHO of the client
	SCTPCookieWait             // INIT of the server
	SCTPCookie                 // INIT ACK of the client
	SCTPCookieEchoed           // COOKIE ECHO of the server
	SCTPEstablished            //
	SCTPShutdownSent           // by the server
	SCTPShutdownReceived       // by the server
	SCTPShutdownAckSent        // by the server
	SCTPRejected               // INIT answered by ABORT
	SCTPClosed                 //

	// SCTPStates is the number of SCTP states.
	SCTPStates = iota
)

var sctpNames = [SCTPStates]string{
	"NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED",
	"ESTABLISHED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED",
}

// sctpMaxRTO is the longest retransmission timeout of RFC 9260 section 16, 60 s,
// and one second more.
const sctpMaxRTO = (60 + 1) * TicksPerSecond

// sctpTimeouts are the kernel's (ip_vs_proto_sctp.c).
var sctpTimeouts = [SCTPStates]Tick{
	SCTPNone:             Seconds(2),
	SCTPInit1:            Seconds(4),
	SCTPInit:             sctpMaxRTO,
	SCTPCookieSent:       sctpMaxRTO,
	SCTPCookieReplied:    sctpMaxRTO,
	SCTPCookieWait:       sctpMaxRTO,
	SCTPCookie:           sctpMaxRTO,
	SCTPCookieEchoed:     sctpMaxRTO,
	SCTPEstablished:      Seconds(15 * 60),
	SCTPShutdownSent:     sctpMaxRTO,
	SCTPShutdownReceived: sctpMaxRTO,
	SCTPShutdownAckSent:  sctpMaxRTO,
	SCTPRejected:         Seconds(4),
	SCTPClosed:           sctpMaxRTO,
}

// Events of SCTP.
const (
	sctpData Event = iota // DATA, SACK, HEARTBEAT and whatever is not named
	sctpInit
	sctpInitAck
	sctpCookieEcho
	sctpCookieAck
	sctpShutdown
	sctpShutdownAck
	sctpShutdownComplete
	sctpError
	sctpAbort
	sctpEvents
)

// sctpOf gives the event of each chunk type.
var sctpOf = [256]Event{
	frame.SCTPInit: sctpInit, frame.SCTPInitAck: sctpInitAck, frame.SCTPAbort: sctpAbort,
	frame.SCTPShutdown: sctpShutdown, frame.SCTPShutdownAck: sctpShutdownAck, frame.SCTPError: sctpError,
	frame.SCTPCookieEcho: sctpCookieEcho, frame.SCTPCookieAck: sctpCookieAck,
	frame.SCTPShutdownComplete: sctpShutdownComplete,
}

// SCTPEvent returns the event of a packet with SCTP common header and chunks l4,
// and false if it has no chunk. The first chunk counts; but an ABORT right after a
// COOKIE ECHO or COOKIE ACK counts instead of that one (ip_vs_proto_sctp.c,
// set_sctp_state).
func SCTPEvent(l4 []byte) (Event, bool) {
	const header, chunk = frame.SCTPHeaderLen, frame.SCTPChunkLen
	kind, ok := frame.SCTPChunk(l4)
	if !ok {
		return 0, false
	}
	if kind == frame.SCTPCookieEcho || kind == frame.SCTPCookieAck {
		n := int(binary.BigEndian.Uint16(l4[header+2:]))
		second := header + (n+3)&^3
		if n >= chunk && second+chunk <= len(l4) && l4[second] == frame.SCTPAbort {
			kind = frame.SCTPAbort
		}
	}
	return sctpOf[kind], true
}

// OpensSCTP reports whether a packet that belongs to no association may open
// one: its first chunk must be INIT, or with sloppy_sctp anything but ABORT. l4
// is as for SCTPEvent.
func (r *Rules) OpensSCTP(l4 []byte) bool {
	kind, ok := frame.SCTPChunk(l4)
	return ok && kind != frame.SCTPAbort && (r.SloppySCTP || kind == frame.SCTPInit)
}

// Short names, so that the table below can be read.
const (
	aNO = SCTPNone
	aI1 = SCTPInit1
	aIN = SCTPInit
	aCS = SCTPCookieSent
	aCR = SCTPCookieReplied
	aCW = SCTPCookieWait
	aCO = SCTPCookie
	aCE = SCTPCookieEchoed
	aES = SCTPEstablished
	aSS = SCTPShutdownSent
	aSR = SCTPShutdownReceived
	aSA = SCTPShutdownAckSent
	aRJ = SCTPRejected
	aCL = SCTPClosed
)

// sctpNext gives the next state by direction, event and state. Columns are the
// states in their order.
var sctpNext = [directions][sctpEvents][SCTPStates]State{
	Request: {
		//                     NO   I1   IN   CS   CR   CW   CO   CE   ES   SS   SR   SA   RJ   CL
		sctpData:             {aES, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpInit:             {aI1, aIN, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aIN, aIN},
		sctpInitAck:          {aCW, aCW, aCW, aCS, aCR, aCO, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpCookieEcho:       {aCR, aIN, aIN, aCR, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpCookieAck:        {aES, aI1, aIN, aCS, aCR, aCW, aCO, aES, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpShutdown:         {aSR, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aSR, aSS, aSR, aSA, aRJ, aCL},
		sctpShutdownAck:      {aCL, aIN, aIN, aCS, aCR, aCW, aCO, aCE, aES, aCL, aSR, aCL, aRJ, aCL},
		sctpShutdownComplete: {aCL, aCL, aCL, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aCL, aRJ, aCL},
		sctpError:            {aCL, aI1, aIN, aCS, aCR, aCW, aCO, aCL, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpAbort:            {aCL, aCL, aCL, aCL, aCL, aRJ, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL},
	},
	Reply: {
		//                     NO   I1   IN   CS   CR   CW   CO   CE   ES   SS   SR   SA   RJ   CL
		sctpData:             {aES, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpInit:             {aCW, aCW, aCW, aCW, aCW, aCW, aCW, aCW, aES, aCW, aCW, aCW, aCW, aCW},
		sctpInitAck:          {aCS, aCS, aCS, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpCookieEcho:       {aCE, aCE, aCE, aCE, aCE, aCE, aCE, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpCookieAck:        {aES, aES, aES, aES, aES, aES, aES, aES, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpShutdown:         {aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSS, aSR, aSA, aRJ, aCL},
		sctpShutdownAck:      {aSA, aSA, aSA, aSA, aSA, aCW, aCO, aCE, aES, aSA, aSA, aSA, aRJ, aCL},
		sctpShutdownComplete: {aCL, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpError:            {aCL, aCL, aCL, aCL, aCL, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpAbort:            {aCL, aRJ, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL},
	},
	inOnly: {
		//                     NO   I1   IN   CS   CR   CW   CO   CE   ES   SS   SR   SA   RJ   CL
		sctpData:             {aES, aI1, aIN, aCS, aCR, aES, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpInit:             {aI1, aIN, aIN, aIN, aIN, aIN, aCO, aCE, aES, aSS, aSR, aSA, aIN, aIN},
		sctpInitAck:          {aCE, aCE, aCE, aCE, aCE, aCE, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpCookieEcho:       {aES, aES, aES, aES, aES, aES, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpCookieAck:        {aES, aI1, aIN, aES, aES, aCW, aES, aES, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpShutdown:         {aSR, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aSR, aSS, aSR, aSA, aRJ, aCL},
		sctpShutdownAck:      {aCL, aIN, aIN, aCS, aCR, aCW, aCO, aCE, aCL, aCL, aSR, aCL, aRJ, aCL},
		sctpShutdownComplete: {aCL, aCL, aCL, aCL, aCL, aCW, aCO, aCE, aES, aSS, aCL, aCL, aRJ, aCL},
		sctpError:            {aCL, aI1, aIN, aCS, aCR, aCW, aCO, aCE, aES, aSS, aSR, aSA, aRJ, aCL},
		sctpAbort:            {aCL, aCL, aCL, aCL, aCL, aRJ, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL},
	},
}
