package bench

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"uvs/bench/load"
)

// Matrix describes targets as all combinations of some choices. A choice that
// means nothing to a method is not combined with it.
type Matrix struct {
	Mode      []load.Method `yaml:"mode"`
	IO        []string      `yaml:"io"`        // ring, socket
	Profile   []string      `yaml:"profile"`   // of rings: latency, throughput
	Scheduler []string      `yaml:"scheduler"` // as ipvsadm -s
	Workers   []int         `yaml:"workers"`
	State     []string      `yaml:"state"`    // of directors: kept, none
	Offloads  []string      `yaml:"offloads"` // on, off
	Against   string        `yaml:"against"`  // another uvs binary, measured as well
}

// Targets are the combinations, each once, in the order of the choices.
func (m Matrix) Targets() ([]load.Target, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	var all []load.Target
	for _, mode := range m.Mode {
		for _, off := range orElse(m.Offloads, "on") {
			for _, io := range orElse(m.IO, "ring") {
				for _, profile := range orElse(m.Profile, "latency") {
					for _, t := range m.schedulers(load.Target{Method: mode, IO: io, Profile: profile, Plain: off == "off"}) {
						all = appendTarget(all, t, m.Against)
					}
				}
			}
		}
	}
	if len(all) > maxLanes/2 {
		return nil, fmt.Errorf("%d targets are more than the %d that a lab has room for", len(all), maxLanes/2)
	}
	return all, nil
}

// maxLanes is how many lanes have addresses.
const maxLanes = 128

// schedulers are the choices of directors alone.
func (m *Matrix) schedulers(t load.Target) []load.Target {
	var all []load.Target
	for _, s := range orElse(m.Scheduler, "rr") {
		for _, w := range orElse(m.Workers, 1) {
			for _, state := range orElse(m.State, "kept") {
				t.Scheduler, t.Workers, t.Stateless = s, w, state == "none"
				all = append(all, t)
			}
		}
	}
	return all
}

// appendTarget adds a target without the choices that it knows nothing of, unless
// it is there already.
func appendTarget(all []load.Target, t load.Target, against string) []load.Target {
	if !t.IsDirector() {
		t.Scheduler, t.Workers, t.Stateless = "", 0, false
		if t.Method != load.Null {
			t.IO, t.Profile = "", ""
		}
	}
	if t.IO == "socket" {
		t.Profile = ""
	}
	if slices.Contains(all, t) {
		return all
	}
	all = append(all, t)
	if against != "" && (t.IsDirector() || t.Method == load.Null) {
		t.Program = against
		all = append(all, t)
	}
	return all
}

func orElse[T any](choices []T, usual T) []T {
	if len(choices) == 0 {
		return []T{usual}
	}
	return choices
}

// check refuses choices that do not exist. Schedulers are judged by the director.
func (m *Matrix) check() error {
	return cmp.Or(
		oneOf("mode", m.Mode, load.Methods...),
		oneOf("io", m.IO, "ring", "socket"),
		oneOf("profile", m.Profile, "latency", "throughput"),
		oneOf("state", m.State, "kept", "none"),
		oneOf("offloads", m.Offloads, "on", "off"),
		positive("workers", m.Workers))
}

func oneOf[T ~string](name string, have []T, allowed ...T) error {
	for _, h := range have {
		if !slices.Contains(allowed, h) {
			return fmt.Errorf("%s %s: one of %v", name, h, allowed)
		}
	}
	return nil
}

func positive(name string, have []int) error {
	for _, n := range have {
		if n < 1 || n > 64 {
			return errors.New(name + ": 1 to 64")
		}
	}
	return nil
}
