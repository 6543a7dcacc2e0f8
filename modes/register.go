package modes

import (
	"net/netip"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/sched"
)

// Settings are what a director tells its forwarding methods.
type Settings struct {
	TOA uint8 // number of the TCP option for the client's address, 0 for none
}

// Target is the real server that a mode leads to. Two targets are the same if they
// are equal.
type Target struct {
	Addr     netip.Addr
	Source   netip.Addr // the director's address towards the server; invalid if it has none
	Host     bool       // the server is the host itself
	PMTUDisc bool       // the sysctl pmtu_disc

	// Options of the methods that encapsulate.
	TunnelType  config.TunnelType
	TunnelFlags config.TunnelFlags
	TunnelPort  uint16
}

// Maker makes the modes of one forwarding method in one director. It returns the
// mode towards a real server, nil if the method cannot reach that. For the zero
// Target it returns one whose Reply is used for all servers; a method whose replies
// do not come back need not. It is called off the hot path, by several goroutines.
type Maker func(Target) Mode

// Encapsulator is a Mode that sends packets inside others. Routers report problems
// with the outer packets to the director, which tells the client.
type Encapsulator interface {
	Mode
	// Sends reports whether outer packets have this flow.
	Sends(outer frame.Flow) bool
	// Overhead returns how many bytes are added to a packet.
	Overhead() int
}

// methods say how each method makes its modes for a director.
var methods = [sched.Methods]func(Settings) Maker{
	sched.Masq:    every(NAT{}),
	sched.Tunnel:  func(Settings) Maker { return tunnelTo },
	sched.Route:   every(DR{}),
	sched.FullNAT: func(s Settings) Maker { return every(&FullNAT{Kind: s.TOA})(s) },
}

// every is for methods whose mode is the same for every server.
func every(m Mode) func(Settings) Maker {
	return func(Settings) Maker { return func(Target) Mode { return m } }
}

// Register adds a forwarding method and returns its number. The director takes all
// it has to know from t and from the Maker that it gets of method; ipvsadm knows
// the method's option and listings its name. It is meant for a package-level
// variable of the method's package, and panics where sched.Define does.
func Register(t sched.Traits, method func(Settings) Maker) sched.Method {
	if method == nil {
		panic("modes: Register needs a function")
	}
	m := sched.Define(t)
	methods[m] = method
	return m
}

// Set is the forwarding methods of one director. It is safe for concurrent use.
type Set struct {
	makers  [sched.Methods]Maker
	replies [sched.Methods]Mode // of the methods that translate; nil for others
}

// NewSet returns the methods known so far with a director's settings.
func NewSet(s Settings) *Set {
	set := &Set{}
	for m := range sched.Method(sched.Methods) {
		if methods[m] == nil {
			continue
		}
		set.makers[m] = methods[m](s)
		if m.Translates() {
			set.replies[m] = set.makers[m](Target{})
		}
	}
	return set
}

// To returns the mode of method m towards a real server, nil if there is none.
func (s *Set) To(m sched.Method, t Target) Mode {
	if s.makers[m%sched.Methods] == nil {
		return nil
	}
	return s.makers[m%sched.Methods](t)
}

// Reply rewrites a frame from the real server of a translated connection for the
// client.
func (s *Set) Reply(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	m := s.replies[c.Method()%sched.Methods]
	if m == nil {
		return frame.DropUnsupported
	}
	return m.Reply(f, c)
}
