package forwarder

import (
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
	"uvs/modes"
	"uvs/sched"
)

// natMode and drMode hold no state and are the same for all real servers.
var (
	natMode modes.Mode = modes.NAT{}
	drMode  modes.Mode = modes.DR{}
)

// serverRoutes remembers how to reach each real server: next hop and forwarding mode,
// by server number, until the neighbour table's generation or the server's
// options change. It belongs to one worker.
type serverRoutes struct {
	all []serverRoute
}

type serverRoute struct {
	options    *config.Server
	sysctl     *Sysctl
	generation uint64
	hop        *neigh.Hop
	tunnel     *modes.Tunnel // nil: none
	full       modes.Mode
}

// to returns the way to a real server. The verdict is Continue if there is one,
// resolved or not. The way is valid until the next call.
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
	*route = serverRoute{hop: hop, full: &w.fw.fullnat}
	if (o.Method == sched.Tunnel || server.TunnelMode.Load() != nil) && hop.Source.IsValid() && !hop.Local {
		route.tunnel = server.Tunnel(modes.TunnelOptions{
			Type: o.TunnelType, Flags: o.TunnelFlags, Port: o.TunnelPort,
			Src: hop.Source, Dst: o.Addr, PMTUDisc: w.sysctl.PMTUDisc != 0,
		})
	}
	if hop.Resolved {
		route.options, route.sysctl, route.generation = o, w.sysctl, generation
	}
	return frame.Continue
}

// mode returns the forwarding mode for a connection, nil if the server cannot
// be reached by it. The host itself needs no tunnel to its own addresses.
func (route *serverRoute) mode(m sched.Method) modes.Mode {
	switch m {
	case sched.Masq:
		return natMode
	case sched.Route:
		return drMode
	case sched.Tunnel:
		switch {
		case route.hop.Local:
			return drMode
		case route.tunnel != nil:
			return route.tunnel
		}
	case sched.FullNAT:
		return route.full
	}
	return nil
}
