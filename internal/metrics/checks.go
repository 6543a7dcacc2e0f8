package metrics

import (
	dto "github.com/prometheus/client_model/go"

	"uvs/forwarder/config"
)

// probeBounds are config.ProbeBounds in seconds.
var probeBounds = func() (all []float64) {
	for _, d := range config.ProbeBounds {
		all = append(all, d.Seconds())
	}
	return all
}()

// checks adds what checks have found about servers: on the way of clients (vip) and at the
// server's own address (rip).
func (f *families) checks(all []config.CheckState) {
	up := f.gauge("uvs_server_check_up", "Whether the last probe of a check succeeded: to the virtual address (path vip) or to the server's own (rip).")
	took := f.family("uvs_server_check_duration_seconds", "Time until a probe of a check was answered, or given up.", dto.MetricType_HISTOGRAM)
	probes := f.counter("uvs_server_check_probes_total", "Probes of a check.")
	failed := f.counter("uvs_server_check_failures_total", "Probes of a check that failed.")
	for i := range all {
		s := &all[i]
		service, server, check := label("service", serviceName(s.Service)), label("server", s.Server.String()), label("check", s.Check.Name())
		for _, p := range []struct {
			name string
			*config.ProbeResult
		}{{"vip", &s.VIP}, {"rip", &s.Own}} {
			if p.Probes == 0 {
				continue // not asked yet, or never
			}
			path := label("path", p.name)
			up.truth(p.OK, service, server, check, path)
			if p.Times.Sum > 0 {
				took.histogram(probeBounds, p.Times.Counts[:], p.Times.Sum.Seconds(), service, server, check, path)
			}
			probes.count(p.Probes, service, server, check, path)
			failed.count(p.Failed, service, server, check, path)
		}
	}
}
