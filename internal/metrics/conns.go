package metrics

import (
	"slices"
	"time"

	"uvs/forwarder"
	"uvs/forwarder/config"
)

// connStates are the connections by their states when they were last counted. That takes time
// with millions of them, of which it takes 1 % at most.
type connStates struct {
	list      []forwarder.ConnCount
	templates int
	at        time.Time
	took      time.Duration
}

// states returns the connections by their states, as they are now or were some seconds ago.
func (c *connStates) of(fw *forwarder.Forwarder) ([]forwarder.ConnCount, int) {
	if began := time.Now(); began.Sub(c.at) >= 100*c.took {
		c.list, c.templates = fw.CountConns()
		c.at, c.took = began, time.Since(began)
	}
	return c.list, c.templates
}

// usual returns none of the states in which connections usually are, as far as a list has
// none: a series that is not there cannot be told from 0.
func usual(list []forwarder.ConnCount) (none []forwarder.ConnCount) {
	for _, c := range []forwarder.ConnCount{{Proto: config.TCP, State: "ESTABLISHED"}, {Proto: config.UDP, State: "UDP"}, {Proto: config.SCTP, State: "ESTABLISHED"}} {
		same := func(o forwarder.ConnCount) bool { return o.Proto == c.Proto && o.State == c.State }
		if !slices.ContainsFunc(list, same) {
			none = append(none, c)
		}
	}
	return none
}

// conns adds what is known of connections and of the local ports.
func (f *families) conns(fw *forwarder.Forwarder, states *connStates) {
	now := f.gauge("uvs_connections", "Connections by protocol and state, as ipvsadm -Lc names it.")
	list, templates := states.of(fw)
	for _, c := range append(usual(list), list...) {
		now.add(float64(c.Conns), label("proto", c.Proto.String()), label("state", c.State))
	}
	f.gauge("uvs_templates", "Templates of persistence in the connection table.").add(float64(templates))
	f.gauge("uvs_connections_limit", "Connections and templates that the table has room for.").add(float64(fw.ConnLimit()))
	f.counter("uvs_connections_created_total", "Connections that were scheduled.").count(fw.ConnsCreated())
	f.counter("uvs_connections_expired_total", "Connections that left the table, for whatever reason.").count(fw.ConnsEnded())
	ports := f.gauge("uvs_pool_ports", "Ports of a local address of FULLNAT towards the server to which most are taken.")
	for _, p := range fw.Pools() {
		local := label("local", p.Local.String())
		ports.add(float64(p.Used), local, label("state", "used"))
		ports.add(float64(p.Ports-p.Used), local, label("state", "free"))
	}
}
