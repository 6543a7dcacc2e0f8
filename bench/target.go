package bench

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Method is how a target forwards, in ipvsadm's words where it is ours.
type Method string

// Methods of targets. The first four are the director's.
const (
	DR      Method = "dr"
	NAT     Method = "nat"
	Tunnel  Method = "tun"
	FullNAT Method = "fullnat"
	Null    Method = "null"  // only the MAC addresses change
	Route   Method = "route" // no balancer: the kernel forwards
	DNAT    Method = "nft"   // nftables DNAT in the kernel

	HAProxy Method = "haproxy" // mode tcp
	Nginx   Method = "nginx"   // stream

	KernelNAT    Method = "ipvs" // IPVS in the kernel, -m
	KernelDR     Method = "ipvs-dr"
	KernelTunnel Method = "ipvs-tun"
)

// Methods are all of them.
var Methods = []Method{Null, DR, NAT, Tunnel, FullNAT, Route, DNAT, HAProxy, Nginx, KernelNAT, KernelDR, KernelTunnel}

// like is what a frame looks like behind the target, in the director's words.
func (m Method) like() Method {
	switch m {
	case KernelNAT, DNAT:
		return NAT
	case KernelDR:
		return DR
	case KernelTunnel:
		return Tunnel
	}
	return m
}

// Target is one thing that is measured.
type Target struct {
	Method    Method `json:"method"`
	IO        string `json:"io,omitempty"`           // of the director or null forwarder: ring or socket
	Profile   string `json:"profile,omitempty"`      // of ring ports: latency or throughput
	Scheduler string `json:"scheduler,omitempty"`    // of the director
	Workers   int    `json:"workers,omitempty"`      // of the director, an interface; 0 is one
	Program   string `json:"program,omitempty"`      // another uvs binary, empty for this one
	Plain     bool   `json:"offloads_off,omitempty"` // checksum and segmentation offload and GRO off on its lane
	Again     bool   `json:"again,omitempty"`        // the same as another target, for the A/A run
}

// String names the target in tables: "nat", "dr/socket", "nat/throughput/w2".
// What is usual is left out.
func (t Target) String() string {
	words := []string{string(t.Method)}
	for _, w := range []struct{ word, usual string }{{t.IO, "ring"}, {t.Profile, "latency"}, {t.Scheduler, "rr"}} {
		if w.word != "" && w.word != w.usual {
			words = append(words, w.word)
		}
	}
	if t.Workers > 1 {
		words = append(words, fmt.Sprintf("w%d", t.Workers))
	}
	for _, w := range []struct {
		word string
		on   bool
	}{{"plain", t.Plain}, {"other", t.Program != ""}, {"again", t.Again}} {
		if w.on {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, "/")
}

// ours reports whether the target is a director.
func (t Target) ours() bool {
	switch t.Method {
	case DR, NAT, Tunnel, FullNAT:
		return true
	}
	return false
}

// direct reports whether servers answer the clients themselves.
func (t Target) direct() bool {
	m := t.Method.like()
	return m == DR || m == Tunnel
}

// process is what targets share a process by: directors with equal options are
// one process with a service for each method.
func (t Target) process() string {
	if t.ours() {
		t.Method, t.Scheduler = "director", ""
	}
	return t.String()
}

// Matrix describes targets as all combinations of some choices. A choice that
// means nothing to a method is not combined with it.
type Matrix struct {
	Mode      []Method `yaml:"mode"`
	IO        []string `yaml:"io"`        // ring, socket
	Profile   []string `yaml:"profile"`   // of rings: latency, throughput
	Scheduler []string `yaml:"scheduler"` // as ipvsadm -s
	Workers   []int    `yaml:"workers"`
	Offloads  []string `yaml:"offloads"` // on, off
	Against   string   `yaml:"against"`  // another uvs binary, measured as well
}

// Targets are the combinations, each once, in the order of the choices.
func (m Matrix) Targets() ([]Target, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	var all []Target
	for _, mode := range m.Mode {
		for _, off := range orElse(m.Offloads, "on") {
			for _, io := range orElse(m.IO, "ring") {
				for _, profile := range orElse(m.Profile, "latency") {
					for _, t := range m.schedulers(Target{Method: mode, IO: io, Profile: profile, Plain: off == "off"}) {
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

func (m *Matrix) schedulers(t Target) []Target {
	var all []Target
	for _, s := range orElse(m.Scheduler, "rr") {
		for _, w := range orElse(m.Workers, 1) {
			t.Scheduler, t.Workers = s, w
			all = append(all, t)
		}
	}
	return all
}

// appendTarget adds a target without the choices that it knows nothing of, unless
// it is there already.
func appendTarget(all []Target, t Target, against string) []Target {
	if !t.ours() {
		t.Scheduler, t.Workers = "", 0
		if t.Method != Null {
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
	if against != "" && (t.ours() || t.Method == Null) {
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
		among("mode", m.Mode, Methods...),
		among("io", m.IO, "ring", "socket"),
		among("profile", m.Profile, "latency", "throughput"),
		among("offloads", m.Offloads, "on", "off"),
		positive("workers", m.Workers))
}

func among[T ~string](name string, have []T, allowed ...T) error {
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
