package conntrack

import "uvs/forwarder/frame"

// States of a TCP connection, in the kernel's order (linux/net/ip_vs.h,
// IP_VS_TCP_S_*).
const (
	TCPNone State = iota
	TCPEstablished
	TCPSynSent
	TCPSynRecv
	TCPFinWait
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPSynAck

	// TCPStates is the number of TCP states.
	TCPStates = iota
)

var tcpNames = [TCPStates]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT",
	"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK",
}

// tcpTimeouts are the kernel's (ip_vs_proto_tcp.c).
var tcpTimeouts = [TCPStates]Tick{
	TCPNone:        Seconds(2),
	TCPEstablished: Seconds(15 * 60),
	TCPSynSent:     Seconds(2 * 60),
	TCPSynRecv:     Seconds(60),
	TCPFinWait:     Seconds(2 * 60),
	TCPTimeWait:    Seconds(2 * 60),
	TCPClose:       Seconds(10),
	TCPCloseWait:   Seconds(60),
	TCPLastAck:     Seconds(30),
	TCPListen:      Seconds(2 * 60),
	TCPSynAck:      Seconds(2 * 60),
}

// tcpActive are the states in which a server counts a connection as active.
var tcpActive = [TCPStates]bool{TCPEstablished: true, TCPSynSent: true, TCPSynRecv: true, TCPSynAck: true}

// Events of TCP: the flag of a segment that counts.
const (
	tcpSyn Event = iota
	tcpFin
	tcpAck
	tcpRst
	tcpNone
	tcpEvents
)

// TCPEvent returns the event of a segment with these flag bits. RST takes
// precedence over SYN, SYN over FIN, FIN over ACK (ip_vs_proto_tcp.c,
// tcp_state_idx).
func TCPEvent(flags uint8) Event {
	switch {
	case flags&frame.FlagRST != 0:
		return tcpRst
	case flags&frame.FlagSYN != 0:
		return tcpSyn
	case flags&frame.FlagFIN != 0:
		return tcpFin
	case flags&frame.FlagACK != 0:
		return tcpAck
	}
	return tcpNone
}

// OpensTCP reports whether a segment that belongs to no connection may open
// one: it must carry SYN, or anything with sloppy_tcp, and never RST.
func (r *Rules) OpensTCP(flags uint8) bool {
	return flags&frame.FlagRST == 0 && (r.SloppyTCP || flags&frame.FlagSYN != 0)
}

// Short names, so that the tables below can be read.
const (
	tNO = TCPNone
	tES = TCPEstablished
	tSS = TCPSynSent
	tSR = TCPSynRecv
	tFW = TCPFinWait
	tTW = TCPTimeWait
	tCL = TCPClose
	tCW = TCPCloseWait
	tLA = TCPLastAck
	tLI = TCPListen
	tSA = TCPSynAck
)

// tcpTable gives the next state by direction, event and state.
type tcpTable [directions][tcpRst + 1][TCPStates]State

// tcpStates is the ordinary table. Columns are the states in their order.
var tcpStates = tcpTable{
	Request: {
		//       NO   ES   SS   SR   FW   TW   CL   CW   LA   LI   SA
		tcpSyn: {tSR, tES, tES, tSR, tSR, tSR, tSR, tSR, tSR, tSR, tSR},
		tcpFin: {tCL, tCW, tSS, tTW, tTW, tTW, tCL, tCW, tLA, tLI, tTW},
		tcpAck: {tES, tES, tSS, tES, tFW, tTW, tCL, tCW, tCL, tLI, tES},
		tcpRst: {tCL, tCL, tCL, tSR, tCL, tCL, tCL, tCL, tLA, tLI, tSR},
	},
	Reply: {
		//       NO   ES   SS   SR   FW   TW   CL   CW   LA   LI   SA
		tcpSyn: {tSS, tES, tSS, tSR, tSS, tSS, tSS, tSS, tSS, tLI, tSR},
		tcpFin: {tTW, tFW, tSS, tTW, tFW, tTW, tCL, tTW, tLA, tLI, tTW},
		tcpAck: {tES, tES, tSS, tES, tFW, tTW, tCL, tCW, tLA, tES, tES},
		tcpRst: {tCL, tCL, tSS, tCL, tCL, tTW, tCL, tCL, tCL, tCL, tCL},
	},
	inOnly: {
		//       NO   ES   SS   SR   FW   TW   CL   CW   LA   LI   SA
		tcpSyn: {tSR, tES, tES, tSR, tSR, tSR, tSR, tSR, tSR, tSR, tSR},
		tcpFin: {tCL, tFW, tSS, tTW, tFW, tTW, tCL, tCW, tLA, tLI, tTW},
		tcpAck: {tES, tES, tSS, tES, tFW, tTW, tCL, tCW, tCL, tLI, tES},
		tcpRst: {tCL, tCL, tCL, tSR, tCL, tCL, tCL, tCL, tLA, tLI, tCL},
	},
}

// tcpSecure is the table of secure_tcp: a connection is established only by a
// segment of the server, or by the client's ACK if replies bypass the director.
var tcpSecure = tcpTable{
	Request: {
		//       NO   ES   SS   SR   FW   TW   CL   CW   LA   LI   SA
		tcpSyn: {tSR, tES, tES, tSR, tSR, tSR, tSR, tSR, tSR, tSR, tSA},
		tcpFin: {tCL, tCW, tSS, tTW, tTW, tTW, tCL, tCW, tLA, tLI, tSA},
		tcpAck: {tES, tES, tSS, tSR, tFW, tTW, tCL, tCW, tCL, tLI, tSA},
		tcpRst: {tCL, tCL, tCL, tSR, tCL, tCL, tCL, tCL, tLA, tLI, tCL},
	},
	Reply: {
		//       NO   ES   SS   SR   FW   TW   CL   CW   LA   LI   SA
		tcpSyn: {tSS, tES, tSS, tSA, tSS, tSS, tSS, tSS, tSS, tLI, tSA},
		tcpFin: {tTW, tFW, tSS, tTW, tFW, tTW, tCL, tTW, tLA, tLI, tTW},
		tcpAck: {tES, tES, tSS, tES, tFW, tTW, tCL, tCW, tLA, tES, tES},
		tcpRst: {tCL, tCL, tSS, tCL, tCL, tTW, tCL, tCL, tCL, tCL, tCL},
	},
	inOnly: {
		//       NO   ES   SS   SR   FW   TW   CL   CW   LA   LI   SA
		tcpSyn: {tSA, tES, tES, tSR, tSA, tSA, tSA, tSA, tSA, tSA, tSA},
		tcpFin: {tCL, tFW, tSS, tTW, tFW, tTW, tCL, tCW, tLA, tLI, tTW},
		tcpAck: {tES, tES, tSS, tES, tFW, tTW, tCL, tCW, tCL, tLI, tES},
		tcpRst: {tCL, tCL, tCL, tSR, tCL, tCL, tCL, tCL, tLA, tLI, tCL},
	},
}

// tcpNext returns the state after an event. A segment without any of the four
// flags closes.
func tcpNext(secure bool, dir Direction, ev Event, s State) State {
	switch {
	case ev >= tcpNone || int(s) >= TCPStates:
		return TCPClose
	case secure:
		return tcpSecure[dir][ev][s]
	}
	return tcpStates[dir][ev][s]
}
