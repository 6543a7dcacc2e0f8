package load

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Noise is how much a machine disturbs a measurement, found by trying: a thread
// that only wants to run is watched for the time it could not, and for how long
// the same piece of work takes.
type Noise struct {
	Grade  string        `json:"grade"`  // A, B, C or D
	Stolen float64       `json:"stolen"` // share of time taken by the hypervisor, 0 to 1
	Lost   float64       `json:"lost"`   // share of time the thread did not run
	GapP99 time.Duration `json:"gap_p99_ns"`
	GapMax time.Duration `json:"gap_max_ns"`
	Work   float64       `json:"work_p99_p50"` // of a fixed piece of work
	Load   float64       `json:"loadavg"`
	CPUs   int           `json:"cpus"` // that may be used
	Clock  string        `json:"clock"`
}

// gapFloor is the shortest interruption that counts: an interrupt's length is
// nobody's concern.
const gapFloor = 10 * time.Microsecond

// MeasureNoise watches the machine for a while, best some seconds.
func MeasureNoise(d time.Duration) Noise {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n := Noise{CPUs: len(AllowedCPUs()), Clock: ReadWord("/sys/devices/system/clocksource/clocksource0/current_clocksource")}
	before := machineCPU()
	gaps, works := watch(d)
	after := machineCPU()
	if all := after.all - before.all; all > 0 {
		n.Stolen = float64(after.stolen-before.stolen) / float64(all)
	}
	_, _ = fmt.Sscan(ReadWord("/proc/loadavg"), &n.Load)
	var lost time.Duration
	for _, g := range gaps {
		lost += g
	}
	n.Lost = lost.Seconds() / d.Seconds()
	n.GapP99, n.GapMax = quantile(gaps, 0.99), quantile(gaps, 1)
	n.Work = float64(quantile(works, 0.99)) / float64(max(quantile(works, 0.5), 1))
	n.Grade = n.grade()
	return n
}

// watch spins for a while. It returns the times at which it did not run, and
// how long each piece of work took.
func watch(d time.Duration) (gaps, works []time.Duration) {
	begin := time.Now()
	last := begin
	sink := uint64(1)
	for last.Sub(begin) < d {
		for range 20_000 { // some 20 µs
			sink = sink*6364136223846793005 + 1442695040888963407
		}
		now := time.Now()
		works = append(works, now.Sub(last))
		last = now
		for range 200 { // gaps show in the time between two looks at the clock
			now := time.Now()
			if g := now.Sub(last); g > gapFloor {
				gaps = append(gaps, g)
			}
			last = now
		}
	}
	if sink == 0 {
		works = works[:0] // never: keeps the work from being left out
	}
	return gaps, works
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Clone(d)
	slices.Sort(s)
	return s[min(int(math.Ceil(q*float64(len(s))))-1, len(s)-1)]
}

// grade sums up. A is a quiet machine, on which a difference of a percent can
// be seen; on D only what is several times larger.
func (n *Noise) grade() string {
	for _, g := range []struct {
		name       string
		lost, work float64
		gap        time.Duration
	}{
		{"A", 0.002, 1.10, 300 * time.Microsecond},
		{"B", 0.01, 1.25, time.Millisecond},
		{"C", 0.04, 1.6, 5 * time.Millisecond},
	} {
		if n.Lost+n.Stolen <= g.lost && n.Work <= g.work && n.GapMax <= g.gap {
			return g.name
		}
	}
	return "D"
}

// String is one line for a report.
func (n Noise) String() string {
	return fmt.Sprintf("noise grade %s (not running %.1f %%, stolen %.1f %%, gap p99 %v, max %v, work p99/p50 %.2f; load %.1f on %d CPUs)",
		n.Grade, 100*n.Lost, 100*n.Stolen, n.GapP99.Round(time.Microsecond), n.GapMax.Round(time.Microsecond),
		n.Work, n.Load, n.CPUs)
}

// ReadWord returns the first word of a file, or "".
func ReadWord(path string) string {
	b, _ := os.ReadFile(path)
	if w := strings.Fields(string(b)); len(w) > 0 {
		return w[0]
	}
	return ""
}
