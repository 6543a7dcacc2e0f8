package config

import (
	"net/netip"
	"time"

	"uvs/sched"
)

// Trace is what the director decided about one packet, stage by stage.
type Trace struct {
	Number  uint64    `json:"number"` // of the packet among those recorded since the start; 0: of a dry run
	Time    time.Time `json:"time"`
	Link    string    `json:"interface"`        // it arrived on
	Length  int       `json:"length"`           // bytes of the frame
	Packet  string    `json:"packet"`           // "tcp 172.16.0.9:51514 > 10.0.0.100:80 SYN"
	Became  string    `json:"became,omitempty"` // what was sent because of it, in the same words
	Steps   []Step    `json:"steps"`
	Verdict string    `json:"verdict"` // as in the counters
	Next    string    `json:"next,omitempty"`
	Took    uint64    `json:"took_ns"` // nanoseconds, of which recording is a part

	// Of its connection, if it has one.
	Service string         `json:"service,omitempty"` // its name, as in the paths of the API
	Client  netip.AddrPort `json:"client,omitzero"`
	Virtual netip.AddrPort `json:"virtual,omitzero"`
	Server  netip.AddrPort `json:"server,omitzero"`
	Local   netip.AddrPort `json:"local,omitzero"` // the director's own end towards the server, by FULLNAT
	Method  string         `json:"method,omitempty"`
	Side    Side           `json:"side,omitempty"`

	Frame  []byte      `json:"frame,omitempty"`  // as it arrived, if the reader asked for frames
	Sent   []SentFrame `json:"sent,omitempty"`   // as they left, if the reader asked for frames
	Missed uint64      `json:"missed,omitempty"` // records before this one that the reader was too slow for
}

// Side says which end of a connection a packet is from.
type Side string

// Sides.
const (
	Request Side = "request" // from the client
	Reply   Side = "reply"   // from the server
)

// SentFrame is a frame that the director sent because of a packet.
type SentFrame struct {
	Link  string `json:"interface"`
	Frame []byte `json:"frame"`
}

// Step is what one stage decided.
type Step struct {
	Stage   string            `json:"stage"` // rx, input, guard, conn, service, sched, policy, synproxy, neigh, mtu, answer, rewrite, tx
	Code    string            `json:"code"`  // stable, for programs: "conn-none", "service-exact"
	What    string            `json:"what"`
	Fields  map[string]string `json:"fields,omitempty"` // the facts in What, by name
	Notes   []string          `json:"notes,omitempty"`  // sentences: why, and what was left out
	At      uint64            `json:"at_ns"`            // nanoseconds after the first step
	Pick    *sched.Record     `json:"pick,omitempty"`
	Changes []Change          `json:"changes,omitempty"` // of rewrite
}

// Change is a header field of a packet that the director changed, or one whose
// staying the same matters.
type Change struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"` // equal to Before: not changed
	Note   string `json:"note,omitempty"`
}

// TraceOptions say which packets are recorded.
type TraceOptions struct {
	Filter     string // as package tracefilter has it; empty: all
	Neighbours bool   // those of ARP and neighbour discovery too
	Frames     bool   // with the frames as they came and left
}

// DryPacket describes a packet for a dry run.
type DryPacket struct {
	Proto       string         `json:"protocol"` // tcp, udp, sctp, icmp, ah, esp
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"`
	Flags       string         `json:"flags,omitempty"`     // of TCP: "syn", "syn,ack"; of SCTP: the first chunk, "init"; none: it opens a connection
	Link        string         `json:"interface,omitempty"` // it arrives on; none: the one by which the host reaches its source
	Data        string         `json:"data,omitempty"`      // payload
	Length      int            `json:"length,omitempty"`    // bytes of payload, zeros after Data
	TTL         uint8          `json:"ttl,omitempty"`       // or hop limit, 0: 64
	DF          bool           `json:"df,omitempty"`        // don't fragment
	Seq         uint32         `json:"seq,omitempty"`       // of TCP
	Ack         uint32         `json:"ack,omitempty"`
	Type        uint8          `json:"type,omitempty"`  // of ICMP; 0 with no About: an echo request
	Code        uint8          `json:"code,omitempty"`  // of ICMP
	About       *DryPacket     `json:"about,omitempty"` // the packet that an ICMP error quotes
	Frame       []byte         `json:"frame,omitempty"` // the whole frame, in place of all but Link
}

// Explanation is what becomes of a packet, with what its verdict means.
type Explanation struct {
	Trace
	Meaning Meaning      `json:"meaning"`
	Line    string       `json:"line"`            // all in one line
	Reply   *Explanation `json:"reply,omitempty"` // what becomes of the server's answer, if it passes here
}

// Meaning is what a verdict means, and what to do about it.
type Meaning struct {
	Code    string `json:"code"` // the verdict
	Means   string `json:"means"`
	Cause   string `json:"cause"`
	Mistake string `json:"mistake"` // the typical one that leads to it
	Fix     string `json:"fix"`
}

// Drops are the frames that ended with one reason to drop.
type Drops struct {
	Meaning
	Frames uint64 `json:"frames"`
	Last   *Trace `json:"last,omitempty"` // the example recorded last
}

// Path is a way that packets took through the stages.
type Path struct {
	Path    string `json:"path"` // "rx → service → conn.new → sched.wlc → neigh → rewrite.route → tx"
	Packets int    `json:"packets"`
	Example *Trace `json:"example"` // the last of them
}
