package forwarder

import (
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
	"uvs/forwarder/sysctl"
	"uvs/modes"
	"uvs/sched"
)

// transit forwards a packet as a router does.
var transit modes.DR

// serverRoutes remembers how to reach each real server: next hop and forwarding mode,
// by server number, until the neighbour table's generation or the server's
// options change. It belongs to one worker.
type serverRoutes struct {
	all []serverRoute
}

type serverRoute struct {
	options    *config.Server
	sysctl     *sysctl.Values
	generation uint64
	hop        *neigh.Hop
	current    modes.Mode // by the method for new connections; nil: the server cannot be reached
	method     sched.Method
}

// to returns the route to a real server. The verdict is Continue if there is one,
// resolved or not. The route is valid until the next call.
func (s *serverRoutes) to(w *worker, server *service.Server) (*serverRoute, frame.Verdict) {
	id := int(server.ID)
	if id >= len(s.all) {
		s.all = append(s.all, make([]serverRoute, id+64-len(s.all))...)
	}
	route := &s.all[id]
	if o := server.Options(); route.options == o && route.sysctl == w.sysctl && route.generation == w.fw.neigh.Generation() {
		return route, frame.Continue
	}
	return route, route.find(w, server)
}

func (route *serverRoute) find(w *worker, server *service.Server) frame.Verdict {
	o, generation := server.Options(), w.fw.neigh.Generation()
	hop, v := w.fw.neigh.Lookup(o.Addr)
	if v != frame.Continue {
		return v
	}
	*route = serverRoute{hop: hop, method: o.Method}
	route.current = route.make(w, server, o.Method)
	if hop.Resolved {
		route.options, route.sysctl, route.generation = o, w.sysctl, generation
	}
	return frame.Continue
}

// mode returns the forwarding mode for a connection by method m, nil if the server
// cannot be reached by it. Connections keep their method when that of the server
// changes.
func (route *serverRoute) mode(w *worker, server *service.Server, m sched.Method) modes.Mode {
	if m == route.method {
		return route.current
	}
	return route.make(w, server, m)
}

func (route *serverRoute) make(w *worker, server *service.Server, m sched.Method) modes.Mode {
	o := server.Options()
	return server.Mode(w.fw.modes, m, modes.Target{
		Addr: o.Addr, Source: route.hop.Source, Host: route.hop.Local, PMTUDisc: w.sysctl.PMTUDisc != 0,
		TunnelType: o.TunnelType, TunnelFlags: o.TunnelFlags, TunnelPort: o.TunnelPort,
	})
}
