package metrics

import (
	"cmp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"uvs/forwarder"
	"uvs/forwarder/frame"
)

// class returns what became of frames with a verdict, as uvs_frames_total tells it.
func class(v frame.Verdict) string {
	switch name := v.String(); {
	case v == frame.Forward, v == frame.Queued:
		return "forwarded"
	case v == frame.Pass:
		return "passed"
	case strings.HasPrefix(name, "drop-"):
		return "dropped"
	}
	return "answered"
}

// merged adds up the figures of queues with the same name.
func merged(list []forwarder.PortFigures) []forwarder.PortFigures {
	slices.SortStableFunc(list, func(a, b forwarder.PortFigures) int { return cmp.Compare(a.Name, b.Name) })
	var all []forwarder.PortFigures
	for i := range list {
		f := &list[i]
		if len(all) == 0 || all[len(all)-1].Name != f.Name {
			all = append(all, *f)
			continue
		}
		all[len(all)-1].Add(f)
	}
	return all
}

// ports adds what became of the frames of each receive queue, and what its worker did.
func (f *families) ports(list []forwarder.PortFigures) {
	frames := f.counter("uvs_frames_total", "Frames received by what became of them; their sum and uvs_frames_waiting are the frames received.")
	waiting := f.gauge("uvs_frames_waiting", "Frames that wait for other fragments, a MAC address, the guard or a server.")
	drops := f.counter("uvs_drops_total", "Frames dropped by reason, the names of docs/verdicts.md.")
	port := f.counter("uvs_port_frames_total", "Frames received from a port and frames that it sent.")
	lost := f.counter("uvs_port_ring_drops_total", "Frames that the kernel lost because the worker was too slow; they are not among those received.")
	refused := f.counter("uvs_port_send_errors_total", "Frames that the kernel did not take.")
	batches := f.family("uvs_port_batch_frames", "Frames that a worker took at once.", dto.MetricType_HISTOGRAM)
	worker := f.counter("uvs_worker_frames_total", "Frames that a worker took; each receive queue has one.")
	busy := f.counter("uvs_worker_busy_seconds_total", "Time that a worker was busy with frames.")
	var dropped [frame.Verdicts]uint64
	for i := range list {
		p := &list[i]
		name, who := label("port", p.Name), label("worker", p.Name)
		sums := map[string]uint64{"forwarded": 0, "passed": 0, "answered": 0, "dropped": 0}
		for v, n := range p.Outcomes {
			sums[class(frame.Verdict(v))] += n
			dropped[v] += n
		}
		for _, verdict := range []string{"answered", "dropped", "forwarded", "passed"} {
			frames.count(sums[verdict], name, label("verdict", verdict))
		}
		waiting.count(p.Waiting, name)
		port.count(p.Received, name, dirIn)
		port.count(p.Sent, name, dirOut)
		lost.count(p.RingDrops, name)
		refused.count(p.Refused, name)
		batches.histogram(batchBounds, p.Batches[:], float64(p.Batched), name)
		worker.count(p.Received, who)
		busy.add(p.Busy.Seconds(), who)
	}
	for v, n := range dropped {
		if v := frame.Verdict(v); class(v) == "dropped" {
			drops.count(n, label("reason", v.String()))
		}
	}
}

// batchBounds are how many frames the batches of each count have at most.
var batchBounds = func() (all []float64) {
	for i := range len(forwarder.PortFigures{}.Batches) {
		all = append(all, float64(uint(1)<<i))
	}
	return all
}()

// portReasons are the reasons for which the kernel does not take frames, as the director's
// counters call them.
var portReasons = []string{"too-big", "no-buffer", "link-down"}

// counters adds what the director counts by name.
func (f *families) counters(all map[string]uint64) {
	refused := f.counter("uvs_refused_total", "Frames that the kernel did not take, by reason.")
	for _, reason := range portReasons {
		refused.count(all["port-refused-"+reason], label("reason", reason))
	}
	for _, c := range []struct{ name, from, help string }{
		{"uvs_made_dropped_total", "made-dropped", "Frames that the director made and could not send."},
		{"uvs_oversize_frames_total", "port-oversize", "Super-frames read through a side buffer."},
		{"uvs_cut_frames_total", "port-cut", "Frames received incomplete."},
		{"uvs_skipped_frames_total", "port-skipped", "Frames that were left out because several directors in a row ended at them."},
		{"uvs_pool_exhausted_total", "drop-no-local-port", "Frames for whose connection no local port of FULLNAT was free."},
		{"uvs_pool_reused_total", "local-ports-reused", "Local ports of connections that were over, given to new ones."},
		{"uvs_address_claims_total", "address-claims", "Messages in which another host claimed an address of the director."},
		{"uvs_address_defences_total", "address-defended", "Announcements made because another host claimed an address."},
		{"uvs_policy_ended_total", "policy-ended", "Connections that a policy ended."},
		{"uvs_policy_rescheduled_total", "policy-rescheduled", "Packets scheduled anew because their server takes no more."},
		{"uvs_policy_probes_total", "policy-probes", "Segments that asked silent clients."},
		{"uvs_synproxy_retries_total", "synproxy-retries", "SYNs sent again to a server."},
		{"uvs_synproxy_unanswered_total", "synproxy-unanswered", "Connections given up because their server did not answer the SYN proxy."},
		{"uvs_synproxy_resets_total", "synproxy-resets", "Connections that their server reset."},
		{"uvs_scheduler_forgotten_total", "sched-forgotten", "Destinations that lblc and lblcr forgot early."},
	} {
		f.counter(c.name, c.help).count(all[c.from])
	}
	f.sync(all)
	requests := f.counter("uvs_arp_requests_total", "ARP requests for an address of the director; those that it leaves unanswered came from where it does not answer.")
	requests.count(all["arp-answered"], label("answered", "true"))
	requests.count(all["arp-ignored"], label("answered", "false"))
	announced := f.counter("uvs_gratuitous_total", "Announcements of addresses, by gratuitous ARP or unsolicited neighbour advertisement.")
	announced.count(all["announced-arp"], label("kind", "arp"))
	announced.count(all["announced-ndp"], label("kind", "ndp"))
	f.gauge("uvs_synproxy_opening", "Connections whose server has not answered the SYN proxy yet.").count(all["synproxy-opening"])
}

// events adds how often each event happened.
func (f *families) events(counts map[string]uint64, missed uint64) {
	happened := f.counter("uvs_events_total", "Events by name (docs/events.md), since the process began.")
	for name, n := range counts {
		happened.count(n, label("event", name))
	}
	f.counter("uvs_events_missed_total", "Events that readers of the stream missed because they were slow.").count(missed)
}
