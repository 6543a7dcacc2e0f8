// Package bench measures layer-4 forwarding on one machine and says how far
// its own numbers can be trusted.
//
// A run builds a lab: a client that sends, a server that counts, and between
// them one lane for each target that is compared. All targets stand ready at
// the same time, in nodes of their own, and take turns in ABBA order, so that
// what the machine does besides meets all of them alike.
//
//	         ┌── director (dr, nat, tun, fullnat) ──┐
//	client ──┼── null forwarder ────────────────────┼── server
//	         └── kernel route, nftables, HAProxy … ─┘
//
// The tester is one process that holds sockets in client and server: the
// generator sends UDP frames by AF_PACKET at a planned rate, the sink counts
// every frame that arrives and checks a random sample of them byte by byte. A
// forwarder is a process whose CPU time is read from its own clock over the
// measured window (docs/benchmarking.md says how each number is made).
//
// Run takes Parts, each a Measure with its Options, and makes one Report. Every kind
// of measure is a file of its own that says what a target does in its turn, and a
// section of the report that makes rows, tables, plots and comparable series of the
// trials, which are kept as they were measured.
//
// Imports: bench stands on lab and the ports; nothing imports it but cmd.
package bench

import (
	"fmt"
	"time"
)

// Load is a stream of frames, UDP unless it says otherwise.
type Load struct {
	Size  int     `json:"size"`            // bytes on the wire with the frame check sequence; 0 is IMIX
	Flows int     `json:"flows"`           // different source addresses and ports
	Rate  float64 `json:"rate"`            // frames a second; 0 is as many as the generator can
	Reply bool    `json:"reply,omitempty"` // from the servers to the clients

	SYN    bool   `json:"syn,omitempty"`    // TCP segments that open a connection
	First  uint32 `json:"first,omitempty"`  // number of the first flow
	Spread int    `json:"spread,omitempty"` // destination addresses, from the director's on, if more than one
}

// SizeName is "64", "1518" or "imix".
func (l Load) SizeName() string {
	if l.Size == 0 {
		return "imix"
	}
	return fmt.Sprint(l.Size)
}

// direction is "requests", or "replies" of the servers.
func (l Load) direction() string {
	if l.Reply {
		return "replies"
	}
	return "requests"
}

// Offered is the rate in words: "max", "20k".
func (l Load) Offered() string {
	if l.Rate == 0 {
		return "max"
	}
	return fmt.Sprintf("%.0fk", l.Rate/1e3)
}

// String names the load in comparisons: "64B/1000", "imix/1000/20k".
func (l Load) String() string {
	s := fmt.Sprintf("%s/%d", l.SizeName(), l.Flows)
	if l.Size > 0 {
		s = fmt.Sprintf("%dB/%d", l.Size, l.Flows)
	}
	if l.Rate > 0 {
		s += "/" + l.Offered()
	}
	if l.Reply {
		s += "/reply"
	}
	return s
}

// Trial is one measurement of one target under one load.
type Trial struct {
	Measure string    `json:"measure"` // that it was made for
	Target  string    `json:"target"`
	Load    Load      `json:"load"`
	Round   int       `json:"round"`
	Start   time.Time `json:"start"`

	Window   time.Duration `json:"window_ns"`        // that rates and CPU times refer to
	Sending  time.Duration `json:"sending_ns"`       // warm-up and window
	Intended uint64        `json:"intended"`         // frames while sending, as planned
	Sent     uint64        `json:"sent"`             // of them, that the generator got out
	Received uint64        `json:"received"`         // of them, that arrived at the sink
	Arrived  uint64        `json:"arrived"`          // in the window
	CPU      time.Duration `json:"cpu_ns"`           // of the forwarder's process in the window
	Waited   time.Duration `json:"waited_ns"`        // it could have run but another process did
	SenderNS time.Duration `json:"sender_ns"`        // CPU time of the generator's thread in the window
	Busy     time.Duration `json:"busy_ns"`          // of all CPUs in the window
	Gap      time.Duration `json:"gap_ns"`           // longest time the generator's CPU was taken away
	Checked  uint64        `json:"checked"`          // frames of the sample
	Strays   uint64        `json:"strays,omitempty"` // of the sample, frames of a trial before
	Faults   []string      `json:"faults"`           // what was wrong with them, at most a few
	Latency  Points        `json:"latency"`          // of the sample in the window, from the planned time; only under a rate
	Disorder uint64        `json:"disorder"`         // of the sample, older than one before of the same flow
}

// Rate is the received rate in frames a second.
func (t *Trial) Rate() float64 { return float64(t.Arrived) / t.Window.Seconds() }

// CPUPerPacket is the forwarder's CPU time for each frame that arrived, in
// nanoseconds.
func (t *Trial) CPUPerPacket() float64 {
	if t.Arrived == 0 {
		return 0
	}
	return float64(t.CPU.Nanoseconds()) / float64(t.Arrived)
}

// Loss is the share of the intended load that did not arrive, 0 to 1. Frames
// that the generator could not send are lost as well; more frames than were
// sent are a fault, not a negative loss.
func (t *Trial) Loss() float64 {
	if t.Intended == 0 || t.Received >= t.Intended {
		return 0
	}
	return 1 - float64(t.Received)/float64(t.Intended)
}

// Disturbed reports whether another process took the generator's or the
// forwarder's CPU away for long enough to matter.
func (t *Trial) Disturbed() bool {
	return t.Gap > 2*time.Millisecond || t.Waited > t.Window/20
}

// Valid reports whether every frame of the sample was right, and no more frames
// arrived than were sent, unless some were late ones of a trial before.
func (t *Trial) Valid() bool { return len(t.Faults) == 0 && !t.Multiplied() }

// Multiplied reports whether more frames arrived than were sent.
func (t *Trial) Multiplied() bool { return t.Received > t.Sent && t.Strays == 0 }
