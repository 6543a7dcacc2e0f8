package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// schema is the version of Report's JSON. It grows when a reader of the older
// one would misunderstand something.
const schema = 1

// Report is everything about a run. All trials are kept as they were measured:
// Rows are made of them alone and can be made again.
type Report struct {
	Schema  int     `json:"schema"`
	Kind    string  `json:"kind"`              // quick, full, …
	Partial string  `json:"partial,omitempty"` // why the run ended early
	Meta    Meta    `json:"meta"`
	Noise   Noise   `json:"noise"`
	Gates   []Trial `json:"gates"` // slow trials in which every frame was checked
	Trials  []Trial `json:"trials"`
	Rows    []Row   `json:"rows"`

	TCP     []TCPTrial `json:"tcp,omitempty"`
	TCPRows []TCPRow   `json:"tcp_rows,omitempty"`
	Found   []Found    `json:"found,omitempty"` // by searches

	Notes []string `json:"notes,omitempty"` // targets left out, and why
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
	Placement   placement `json:"placement"`
	InsideMTU   int       `json:"inside_mtu"`
	Offloads    bool      `json:"offloads"`
	Warm        string    `json:"warm"`
	Window      string    `json:"window"`
	Env         []string  `json:"env,omitempty"` // GOGC and the like, where set
}

// Row is one line of the table: a target under a load.
type Row struct {
	Target    string   `json:"target"`
	Load      Load     `json:"load"`
	Rate      Estimate `json:"rate_pps"`
	CPU       Estimate `json:"cpu_ns_per_packet"` // N 0 if the kernel forwards
	Sender    Estimate `json:"sender_ns_per_packet"`
	Ratio     Estimate `json:"cpu_to_null"` // of trials of the same round
	Loss      Estimate `json:"loss"`
	Disorder  uint64   `json:"disorder"`
	Disturbed int      `json:"disturbed"` // trials, which count all the same
	Faults    []string `json:"faults,omitempty"`
}

// Verdict is "valid", or "INVALID" for a target that did not forward rightly.
func (r *Row) Verdict() string {
	if len(r.Faults) > 0 {
		return "INVALID"
	}
	return "valid"
}

// newMeta describes this machine and build.
func newMeta(o *Options) Meta {
	m := Meta{
		Start: time.Now().UTC(), Command: o.Command, Go: runtime.Version(), CPUs: len(allowedCPUs()),
		Placement: o.place(), InsideMTU: insideMTU, Offloads: !o.NoOffload,
		Warm: o.Warm.String(), Window: o.Window.String(),
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

// summarize makes the rows of the trials, in the order in which target and load
// first occur.
func (r *Report) summarize() {
	type key struct {
		target string
		load   Load
	}
	groups := map[key][]*Trial{}
	var order []key
	for i := range r.Trials {
		t := &r.Trials[i]
		k := key{t.Target, t.Load}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], t)
	}
	r.Rows = nil
	for _, k := range order {
		row := summary(groups[k], groups[key{string(Null), k.load}])
		for i := range r.Gates {
			if g := &r.Gates[i]; g.Target == k.target && !g.Valid() {
				row.Faults = append(row.Faults, g.Faults...)
			}
		}
		r.Rows = append(r.Rows, row)
	}
	r.summarizeTCP()
}

func summary(trials, null []*Trial) Row {
	row := Row{Target: trials[0].Target, Load: trials[0].Load}
	var rates, loss, sender []float64
	cpu, base := byRound(trials), byRound(null)
	for _, t := range trials {
		rates, loss = append(rates, t.Rate()), append(loss, t.Loss())
		if t.Arrived > 0 {
			sender = append(sender, float64(t.SenderNS.Nanoseconds())/float64(t.Arrived))
		}
		row.Disorder += t.Disorder
		if t.Disturbed() {
			row.Disturbed++
		}
		if !t.Valid() {
			row.Faults = append(row.Faults, t.Faults...)
			if t.Received > t.Sent {
				row.Faults = append(row.Faults, fmt.Sprintf("%d frames arrived of %d sent", t.Received, t.Sent))
			}
		}
	}
	row.Rate, row.Loss, row.Sender = estimate(rates), estimate(loss), estimate(sender)
	var values []float64
	for _, v := range cpu {
		values = append(values, v)
	}
	row.CPU, row.Ratio = estimate(values), estimate(ratios(cpu, base))
	return row
}

// byRound are the CPU times for each packet, by round.
func byRound(trials []*Trial) map[int]float64 {
	m := map[int]float64{}
	for _, t := range trials {
		if v := t.CPUPerPacket(); v > 0 {
			m[t.Round] = v
		}
	}
	return m
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
