// Package metrics shows a director to Prometheus: what package forwarder counts, under the
// names of docs/metrics.md, with the process's and Go's own figures.
//
// A scrape reads counters where workers write them and takes no lock that a packet needs. No
// counter goes back: not by ipvsadm -Z, which sets the zero of its listings, and not when an
// interface is opened anew. Those of packets go on where the last director with the same
// state was.
package metrics

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"uvs/forwarder"
	"uvs/internal/events"
	"uvs/sched"
)

// Source is what metrics are taken from.
type Source struct {
	Forwarder *forwarder.Forwarder
	Events    *events.Ring
	Version   string
	// Rules returns when rules were last loaded from a file, zero for never, and a hash of
	// those that are in force.
	Rules func() (loaded time.Time, hash string)
}

// Metrics are the metrics of one director, one scrape at a time. They are safe for concurrent
// use.
type Metrics struct {
	registry *prometheus.Registry
	duration [sched.Methods]prometheus.Observer

	mu       sync.Mutex
	from     *Source
	families *families
	states   connStates
}

// New returns metrics of a director that is still to be named by Of: until then only those of
// the process.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), families: newFamilies()}
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "uvs_forward_duration_seconds",
		Help: "Time from the receipt of a batch until it was sent on, of one batch in 1024 frames, by the forwarding method of its last frame.",
		Buckets: []float64{0.5e-6, 1e-6, 2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6,
			1e-3, 2e-3, 5e-3, 10e-3},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
	}, []string{"mode"})
	for i := range m.duration {
		if method := sched.Method(i); method.Traits().Word != "" && method != sched.Bypass {
			m.duration[i] = duration.WithLabelValues(method.Traits().Word)
		}
	}
	m.registry.MustRegister(duration, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Of names the director, once it is built, and nil before it ends.
func (m *Metrics) Of(s *Source) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from, m.states = s, connStates{}
}

// Forwarded takes note of how long a batch took. It is made for forwarder.Config.Sampled.
func (m *Metrics) Forwarded(method sched.Method, took time.Duration) {
	if o := m.duration[method%sched.Methods]; o != nil {
		o.Observe(took.Seconds())
	}
}

// Gather returns the metrics, sorted by name, and a function to call when they are no longer
// in use: their memory is the next scrape's, which waits for that.
func (m *Metrics) Gather() ([]*dto.MetricFamily, func(), error) {
	process, err := m.registry.Gather()
	m.mu.Lock()
	m.families.reset()
	if m.from != nil {
		m.families.director(m.from, &m.states)
	}
	return m.families.sorted(process), m.mu.Unlock, err
}

// director adds the metrics of a director.
func (f *families) director(from *Source, states *connStates) {
	f.gauge("uvs_build_info", "Version of the director.").add(1,
		label("version", from.Version), label("goversion", runtime.Version()), label("revision", revision()))
	fw := from.Forwarder
	services := f.services()
	for v := range fw.Load().All() {
		services.add(v)
	}
	f.checks(fw.Checks())
	f.ports(merged(fw.Ports()))
	f.counters(fw.Counters())
	f.conns(fw, states)
	if from.Events != nil {
		f.events(from.Events.Counts())
	}
	if from.Rules != nil {
		loaded, hash := from.Rules()
		at := 0.0
		if !loaded.IsZero() {
			at = float64(loaded.UnixMilli()) / 1000
		}
		f.gauge("uvs_config_reload_success_timestamp_seconds", "When rules were last loaded from the file without a mistake; 0: never.").add(at)
		f.gauge("uvs_config_hash_info", "Hash of the rules in force: the same in directors with the same rules.").add(1, label("hash", hash))
	}
}

// revision returns the commit that the program was built from, as far as it knows.
var revision = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
})
