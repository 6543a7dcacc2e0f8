package metrics

import "uvs/forwarder/config"

// checks adds what checks have found about servers: on the way of clients (vip) and at the
// server's own address (rip).
func (f *families) checks(all []config.CheckState) {
	up := f.gauge("uvs_server_check_up", "Whether the last probe of a check succeeded: to the virtual address (path vip) or to the server's own (rip).")
	took := f.gauge("uvs_server_check_duration_seconds", "Time until the last probe of a check was answered, or given up.")
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
			took.add(float64(p.Micros)/1e6, service, server, check, path)
			probes.count(p.Probes, service, server, check, path)
			failed.count(p.Failed, service, server, check, path)
		}
	}
}
