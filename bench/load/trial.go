package load

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

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

// Problems is all that was wrong with a trial's frames.
func (t *Trial) Problems() []string {
	if t.Multiplied() {
		return append(t.Faults, fmt.Sprintf("%d frames arrived of %d sent", t.Received, t.Sent))
	}
	return t.Faults
}

// Points are percentiles of the one-way latency from the planned time of each
// frame, in microseconds. 0 stands for one with fewer than ten samples beyond it.
type Points struct {
	Share   float64 `json:"share"` // of the PDR; 0 is as good as no load
	Rate    float64 `json:"rate"`
	Samples uint64  `json:"samples"`
	P50     float64 `json:"p50_us"`
	P90     float64 `json:"p90_us"`
	P99     float64 `json:"p99_us"`
	P999    float64 `json:"p999_us"`
	Max     float64 `json:"max_us"`

	Spectrum []Quantile `json:"spectrum,omitempty"` // of latency trials
}

// Quantile is one point of a distribution.
type Quantile struct {
	Percentile float64 `json:"percentile"`
	Micros     float64 `json:"us"`
}

// Quantiles are those of the spectrum, or of the few that are always kept.
func (p *Points) Quantiles() []Quantile {
	if len(p.Spectrum) > 0 {
		return p.Spectrum
	}
	var all []Quantile
	for _, q := range []Quantile{{50, p.P50}, {90, p.P90}, {99, p.P99}, {99.9, p.P999}} {
		if q.Micros > 0 {
			all = append(all, q)
		}
	}
	slices.SortFunc(all, func(a, b Quantile) int { return cmp.Compare(a.Percentile, b.Percentile) })
	return all
}

// What a gate forgives: at its rate no forwarder loses a frame for want of speed, but
// a busy machine may take a CPU away, or move a sender from one to another.
const (
	gateLoss     = 0.01  // share of the frames sent
	gateDisorder = 0.001 // share of the frames checked
)

// JudgeGate adds to the faults of a trial in which every frame was checked what no
// single frame shows: that many are missing, or were overtaken.
func (t *Trial) JudgeGate() {
	lost := uint64(0)
	if t.Received < t.Sent {
		lost = t.Sent - t.Received
	}
	switch {
	case t.Checked == 0:
		t.Faults = append(t.Faults, "nothing arrived")
	case float64(lost) > gateLoss*float64(t.Sent):
		t.Faults = append(t.Faults, fmt.Sprintf("%d of %d frames did not arrive", lost, t.Sent))
	}
	if float64(t.Disorder) > gateDisorder*float64(t.Checked) {
		t.Faults = append(t.Faults, fmt.Sprintf("%d of %d frames were overtaken by a later one of their flow", t.Disorder, t.Checked))
	}
}
