package report

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"uvs/bench/load"
)

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

// NewMeta describes this machine and build.
func NewMeta() Meta {
	m := Meta{
		Start: time.Now().UTC(), Go: runtime.Version(), CPUs: len(load.AllowedCPUs()),
		Governor: load.ReadWord("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
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
