// Package load generates traffic through a forwarder and judges what arrives.
//
// The tester is one process with sockets in the client's and the server's network
// namespaces. Its generator sends UDP frames, or TCP SYNs, by AF_PACKET at a planned
// rate; its sink counts every frame that arrives and checks a sample byte by byte,
// or every frame. Its TCP clients and servers make real connections. The process that
// measures calls the tester over a socket (call.go): each exported method of Tester
// is a call, each type named Call what it takes.
//
// A Target names what is measured, a Load what is offered, and a Trial holds what was
// counted.
//
// Imports: load stands on the engine's ports and frames; bench and report import it.
package load

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

// Direction is "requests", or "replies" of the servers.
func (l Load) Direction() string {
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

// Duration is how long it takes to send one frame of each flow.
func (l Load) Duration() time.Duration {
	return time.Duration(float64(l.Flows)/l.Rate*1e9) + 50*time.Millisecond
}

// plan is when the frames are to leave.
func (l Load) plan() Plan {
	if l.Rate <= 0 {
		return nil
	}
	return steady(l.Rate)
}
