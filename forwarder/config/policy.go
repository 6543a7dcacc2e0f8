package config

import (
	"fmt"
	"strings"
	"time"
)

// Policy is what a director does, beyond IPVS, about the connections of a
// service whose real server goes: it was removed, or its weight was set to 0.
// The zero value is IPVS's way: packets for a removed server are dropped without
// a word, and a server of weight 0 keeps what it has for as long as it likes.
type Policy struct {
	// Gone is what the client of a connection gets when its server is gone: it
	// was removed, or its time to drain is over.
	Gone Gone `json:"gone,omitempty"`
	// Drain is how many seconds the connections of a server may go on after it
	// was removed or its weight was set to 0; then they end. 0: as in IPVS, not at
	// all after the one and without end after the other.
	Drain uint32 `json:"drain,omitempty"`
	// Reschedule has the next datagram of a UDP flow scheduled anew if its server
	// was removed or has the weight 0.
	Reschedule bool `json:"udp_reschedule,omitempty"`
}

// Gone is an answer to packets for a server that is gone; "drop", "reset" or
// "icmp" in JSON.
type Gone uint8

// Answers, from IPVS's silence to the end of the connection.
const (
	GoneDrop  Gone = iota // none
	GoneReset             // TCP: RST to both ends, SCTP: ABORT, others: ICMP port unreachable; the connection ends
	GoneICMP              // ICMP host unreachable; the connection stays, in case the server comes back
)

var goneWords = []word[Gone]{{GoneDrop, "drop"}, {GoneReset, "reset"}, {GoneICMP, "icmp"}}

// String returns drop, reset or icmp.
func (g Gone) String() string {
	text, _ := g.MarshalText()
	return string(text)
}

// MarshalText returns drop, reset or icmp.
func (g Gone) MarshalText() ([]byte, error) { return wordOf(goneWords, g, "answer") }

// UnmarshalText reads drop, reset or icmp.
func (g *Gone) UnmarshalText(text []byte) error { return valueOf(goneWords, g, text, "answer") }

// Validate reports a time to drain of more than 31 days, or an answer there is
// not.
func (p Policy) Validate() error {
	if _, err := p.Gone.MarshalText(); err != nil {
		return wrong("gone", "%s", err)
	}
	if p.Drain > MaxTimeout {
		return wrong("drain", "%d s is more than 31 days", p.Drain)
	}
	return nil
}

// String returns the policy in the words of `uvs policy`: "--gone reset --drain
// 30s --udp-reschedule", or "--gone drop" for that of IPVS.
func (p Policy) String() string {
	words := []string{"--gone", p.Gone.String()}
	if p.Drain != 0 {
		words = append(words, "--drain", p.DrainText())
	}
	if p.Reschedule {
		words = append(words, "--udp-reschedule")
	}
	return strings.Join(words, " ")
}

// DrainText returns the time to drain as `uvs policy` writes and reads it: "30s".
func (p Policy) DrainText() string { return fmt.Sprintf("%ds", p.Drain) }

// ParseDrain reads a time to drain: "30s", "2m", "1h30m" or a number of seconds.
func ParseDrain(text string) (uint32, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < 0 || d > MaxTimeout*time.Second || d%time.Second != 0 {
		return 0, fmt.Errorf("%q is no time in whole seconds up to 31 days, such as 30s or 5m", text)
	}
	return uint32(d / time.Second), nil
}
