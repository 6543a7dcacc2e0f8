package forwarder

import (
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/modes"
	"uvs/sched"
)

// natMode and drMode hold no state and are the same for all real servers.
var (
	natMode modes.Mode = modes.NAT{}
	drMode  modes.Mode = modes.DR{}
)

// ways remembers how to reach each real server: next hop and forwarding mode,
// by server number, until the neighbour table's generation or the server's
// options change. It belongs to one worker.
type ways struct {
	all []serverWay
}

type serverWay struct {
	options    *config.Server
	sysctl     *Sysctl
	generation uint64
	hop        *neigh.Hop
	tunnel     *modes.Tunnel // nil: none
	full       modes.Mode
}

// to returns the way to a real server. The verdict is Continue if there is one,
// resolved or not. The way is valid until the next call.
func (s *ways) to(w *worker, server *Server) (*serverWay, frame.Verdict) {
	id := int(server.ID)
	if id >= len(s.all) {
		s.all = append(s.all, make([]serverWay, id+64-len(s.all))...)
	}
	way := &s.all[id]
	if o := server.Options(); way.options == o && way.sysctl == w.sysctl && way.generation == w.fw.neigh.Generation() {
		return way, frame.Continue
	}
	return way, way.find(w, server)
}

func (way *serverWay) find(w *worker, server *Server) frame.Verdict {
	o, generation := server.Options(), w.fw.neigh.Generation()
	hop, v := w.fw.neigh.Lookup(o.Addr)
	if v != frame.Continue {
		return v
	}
	*way = serverWay{hop: hop, full: &w.fw.fullnat}
	if (o.Method == sched.Tunnel || server.wrap.Load() != nil) && hop.Source.IsValid() && !hop.Local {
		way.tunnel = server.tunnel(modes.TunnelOptions{
			Type: o.TunnelType, Flags: o.TunnelFlags, Port: o.TunnelPort,
			Src: hop.Source, Dst: o.Addr, PMTUDisc: w.sysctl.PMTUDisc != 0,
		})
	}
	if hop.Resolved {
		way.options, way.sysctl, way.generation = o, w.sysctl, generation
	}
	return frame.Continue
}

// mode returns the forwarding mode for a connection, nil if the server cannot
// be reached by it. The host itself needs no tunnel to its own addresses.
func (way *serverWay) mode(m sched.Method) modes.Mode {
	switch m {
	case sched.Masq:
		return natMode
	case sched.Route:
		return drMode
	case sched.Tunnel:
		switch {
		case way.hop.Local:
			return drMode
		case way.tunnel != nil:
			return way.tunnel
		}
	case sched.FullNAT:
		return way.full
	}
	return nil
}

// tunnel returns the mode of a server with the given options, the same for all
// workers: outer packets draw their identification from one counter.
func (s *Server) tunnel(o modes.TunnelOptions) *modes.Tunnel {
	if t := s.wrap.Load(); t != nil && t.Options == o {
		return t
	}
	t := modes.NewTunnel(o)
	s.wrap.Store(t)
	return t
}
