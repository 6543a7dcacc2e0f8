package bench

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// schema is the version of Report's JSON. It grows when a reader of the older
// one would misunderstand something.
const schema = 2

// Report is everything about a run. All trials are kept as they were measured:
// what else a section has is made of them alone and can be made again.
type Report struct {
	Schema  int       `json:"schema"`
	Kind    string    `json:"kind"`              // quick, tcp, full, …
	Partial string    `json:"partial,omitempty"` // why the run ended early
	Meta    Meta      `json:"meta"`
	Parts   []Setting `json:"parts"`
	Noise   Noise     `json:"noise"`

	forwarding
	connecting
	searching
	fairness
	disruption
	crowding
	sustaining
	recovering

	Claims []Claim  `json:"claims,omitempty"` // of the A/A run
	Beside []Beside `json:"beside,omitempty"` // every target beside its baseline
	Limits []Judged `json:"limits,omitempty"` // of a scenario
	Notes  []string `json:"notes,omitempty"`  // targets left out, and why
}

// sections are all kinds of results that a report may have, in the order in
// which they are shown.
func (r *Report) sections() []section {
	return []section{&r.forwarding, &r.connecting, &r.searching, &r.fairness, &r.disruption, &r.crowding, &r.sustaining, &r.recovering}
}

// summarize makes all that is made of trials.
func (r *Report) summarize() {
	for _, s := range r.sections() {
		s.summarize(r)
	}
	r.Claims = r.claims()
	r.Beside = r.beside()
	r.Limits = r.judgeLimits()
}

// series are those of all sections.
func (r *Report) series() []series {
	var all []series
	for _, s := range r.sections() {
		all = append(all, s.series()...)
	}
	return all
}

// note adds a line, once.
func (r *Report) note(s string) {
	if !slices.Contains(r.Notes, s) {
		r.Notes = append(r.Notes, s)
	}
}

// target returns the target of a name.
func (r *Report) target(name string) Target {
	for i := range r.Parts {
		for _, t := range r.Parts[i].Targets {
			if t.String() == name {
				return t
			}
		}
	}
	return Target{}
}

// window is the length of a measure's trials, in words.
func (r *Report) window(measure string) string {
	for i := range r.Parts {
		if r.Parts[i].Measure == measure {
			return r.Parts[i].Window
		}
	}
	return ""
}

// floor is the name of the null forwarder below a target: that of its port.
func (r *Report) floor(name string) string {
	t := r.target(name)
	return Target{Method: Null, IO: t.IO, Profile: t.Profile, Plain: t.Plain}.String()
}

// Setting is what a part of a run was to measure.
type Setting struct {
	Measure   string    `json:"measure"`
	Targets   []Target  `json:"targets"`
	Rounds    int       `json:"rounds"`
	Warm      string    `json:"warm"`
	Window    string    `json:"window"`
	Servers   int       `json:"servers"`
	Placement placement `json:"placement"`
	InsideMTU int       `json:"inside_mtu"`
	Baseline  string    `json:"baseline,omitempty"`
	Limits    []Limit   `json:"limits,omitempty"`
}

// setting describes the options. Of another binary only the name is kept: a report
// names no place.
func (o *Options) setting(measure string) Setting {
	targets := slices.Clone(o.Targets)
	for i := range targets {
		if p := targets[i].Program; p != "" {
			targets[i].Program = filepath.Base(p)
		}
	}
	return Setting{
		Measure: measure, Targets: targets, Rounds: o.Rounds, Warm: o.Warm.String(), Window: o.Window.String(),
		Servers: max(o.Servers, 1), Placement: o.place(), InsideMTU: insideMTU, Baseline: o.Baseline, Limits: o.Limits,
	}
}

// Meta is what another needs to repeat a run. It names no host, user or path.
type Meta struct {
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
	Command     []string  `json:"command"`
	Revision    string    `json:"revision"`
	Modified    bool      `json:"modified"`
	Go          string    `json:"go"`
	Kernel      string    `json:"kernel"`
	CPU         string    `json:"cpu"`
	CPUs        int       `json:"cpus"`
	Hypervisor  bool      `json:"hypervisor"`
	Mitigations string    `json:"mitigations"`
	Governor    string    `json:"governor,omitempty"`
	MemoryMiB   uint64    `json:"memory_mib"`
	Env         []string  `json:"env,omitempty"` // GOGC and the like, where set
}

// newMeta describes this machine and build.
func newMeta() Meta {
	m := Meta{
		Start: time.Now().UTC(), Go: runtime.Version(), CPUs: len(allowedCPUs()),
		Governor: readWord("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				m.Revision = s.Value
			case "vcs.modified":
				m.Modified = s.Value == "true"
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		m.MemoryMiB = uint64(si.Totalram) * uint64(si.Unit) >> 20
	}
	m.CPU = cpuInfo("model name")
	m.Hypervisor = strings.Contains(cpuInfo("flags"), " hypervisor")
	m.Mitigations = cpuInfo("bugs")
	for _, k := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"} {
		if v, ok := os.LookupEnv(k); ok {
			m.Env = append(m.Env, k+"="+v)
		}
	}
	return m
}

// cpuInfo returns the first value of a key of /proc/cpuinfo.
func cpuInfo(key string) string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// MarshalJSON leaves out the numbers of an estimate of nothing, which JSON
// cannot say.
func (e Estimate) MarshalJSON() ([]byte, error) {
	if e.N == 0 || math.IsNaN(e.Median) {
		return []byte(`{"n":0}`), nil
	}
	type plain Estimate
	return json.Marshal(plain(e))
}

// Write writes the report as indented JSON.
func (r *Report) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}
