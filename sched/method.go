package sched

import (
	"fmt"
	"strings"
)

// Method is a forwarding method.
type Method uint8

// Forwarding methods; the first five have the kernel's numbers (linux/ip_vs.h).
const (
	Masq    Method = 0 // NAT, ipvsadm -m
	Local   Method = 1 // the real server is the director itself
	Tunnel  Method = 2 // ipvsadm -i
	Route   Method = 3 // direct routing, ipvsadm -g
	Bypass  Method = 4 // to the packet's own destination; no server has it
	FullNAT Method = 5 // both addresses translated, --fullnat

	defined = 6 // numbers that are taken from the start
)

// Methods is how many forwarding methods there can be: a connection keeps its
// method in three bits (linux/ip_vs.h, IP_VS_CONN_F_FWD_MASK).
const Methods = 8

// Traits are what the director asks about a forwarding method. How it rewrites
// packets is told to package modes.
type Traits struct {
	Word   string // in configuration and JSON
	Listed string // in ipvsadm's Forward column, which has room for 7 letters
	Option string // ipvsadm's long option, without dashes
	Letter byte   // ipvsadm's short option, 0 for none

	// Translates says that the server's replies come back to the director, which
	// translates them: it finds their connection by the reply's own flow. Otherwise
	// the server answers the client itself, as the virtual address.
	Translates bool
	// NeedsLocal says that each connection takes a local address and port, to
	// which the replies come. It goes with Translates.
	NeedsLocal bool
	// Masquerades says that the replies are addressed to the client and the
	// director is the server's gateway. IPVS ties several things to that: FTP's
	// data connections, and those that a server begins. It goes with Translates,
	// and not with NeedsLocal.
	Masquerades bool
	// Encapsulates says that packets go to the server inside others: it may be of
	// another address family than its service, and has a tunnel's options.
	Encapsulates bool
	// Internal says that no administrator can ask for the method.
	Internal bool
}

// Traits of the methods by number. Those without a word are free.
var traits = [Methods]Traits{
	Masq:    {Word: "masq", Listed: "Masq", Option: "masquerading", Letter: 'm', Translates: true, Masquerades: true},
	Local:   {Word: "local", Listed: "Local", Internal: true},
	Tunnel:  {Word: "tunnel", Listed: "Tunnel", Option: "ipip", Letter: 'i', Encapsulates: true},
	Route:   {Word: "route", Listed: "Route", Option: "gatewaying", Letter: 'g'},
	Bypass:  {Word: "bypass", Listed: "Bypass", Internal: true},
	FullNAT: {Word: "fullnat", Listed: "FullNat", Option: "fullnat", Translates: true, NeedsLocal: true},
}

// What packets ask about their method, one bit for each method.
var (
	translates = bitsOf(func(t *Traits) bool { return t.Translates })
	needsLocal = bitsOf(func(t *Traits) bool { return t.NeedsLocal })
	direct     = bitsOf(func(t *Traits) bool { return t.Word != "" && !t.Translates && !t.Internal })
)

func bitsOf(has func(*Traits) bool) (bits uint8) {
	for m := range traits {
		if has(&traits[m]) {
			bits |= 1 << m
		}
	}
	return bits
}

// Define adds a forwarding method and returns its number. Use modes.Register, which
// also says how the method rewrites. It is meant for the initialization of a
// method's package, and not safe for concurrent use. It panics if the traits
// contradict each other, if the word, the listed name or an option is taken, and if
// there is no number left: two are free.
func Define(t Traits) Method {
	if err := t.check(); err != nil {
		panic("sched: Define: " + err.Error())
	}
	for m := Method(defined); m < Methods; m++ {
		if traits[m].Word == "" {
			traits[m] = t
			translates |= bit(t.Translates, m)
			needsLocal |= bit(t.NeedsLocal, m)
			direct |= bit(!t.Translates && !t.Internal, m)
			return m
		}
	}
	panic(fmt.Sprintf("sched: Define: no number is left for the forwarding method %q", t.Word))
}

func bit(set bool, m Method) uint8 {
	if set {
		return 1 << m
	}
	return 0
}

// check reports what is wrong with the traits of a new method.
func (t *Traits) check() error {
	switch {
	case t.Word == "" || t.Listed == "":
		return fmt.Errorf("a forwarding method needs a word and a name in listings")
	case t.Option == "" && !t.Internal:
		return fmt.Errorf("the forwarding method %q needs an option", t.Word)
	case (t.NeedsLocal || t.Masquerades) && !t.Translates, t.NeedsLocal && t.Masquerades:
		return fmt.Errorf("the traits of the forwarding method %q contradict each other", t.Word)
	}
	for i := range traits {
		o := &traits[i]
		if o.Word == t.Word || o.Listed == t.Listed || t.Option != "" && o.Option == t.Option || t.Letter != 0 && o.Letter == t.Letter {
			return fmt.Errorf("the forwarding method %q has a word, name or option of %q", t.Word, o.Word)
		}
	}
	return nil
}

// Traits returns what there is to say about the method. They are zero for a number
// that no method has.
func (m Method) Traits() Traits { return traits[m%Methods] }

// Translates reports whether replies come back through the director and are found
// by their own flow.
func (m Method) Translates() bool { return translates>>(m%Methods)&1 != 0 }

// NeedsLocal reports whether a connection takes a local address and port.
func (m Method) NeedsLocal() bool { return needsLocal>>(m%Methods)&1 != 0 }

// Direct reports whether the server answers the client itself, as the virtual
// address.
func (m Method) Direct() bool { return direct>>(m%Methods)&1 != 0 }

// Masquerades reports whether the director is the gateway of the method's servers.
func (m Method) Masquerades() bool { return traits[m%Methods].Masquerades }

// Encapsulates reports whether packets go to the server inside others.
func (m Method) Encapsulates() bool { return traits[m%Methods].Encapsulates }

// String returns the method as ipvsadm's Forward column prints it.
func (m Method) String() string {
	if m < Methods && traits[m].Listed != "" {
		return traits[m].Listed
	}
	return "Unknown"
}

// MarshalText returns the method's word in JSON: masq, local, tunnel, route,
// bypass, fullnat or that of a method that was defined.
func (m Method) MarshalText() ([]byte, error) {
	if m < Methods && traits[m].Word != "" {
		return []byte(traits[m].Word), nil
	}
	return nil, fmt.Errorf("no forwarding method has the number %d", uint8(m))
}

// UnmarshalText reads a word of MarshalText.
func (m *Method) UnmarshalText(text []byte) error {
	for i := range traits {
		if word := traits[i].Word; word != "" && word == string(text) {
			*m = Method(i)
			return nil
		}
	}
	words := []string{"masq", "route", "tunnel", "fullnat", "local"}
	for i := defined; i < Methods && traits[i].Word != ""; i++ {
		words = append(words, traits[i].Word)
	}
	return fmt.Errorf("no forwarding method %q (%s)", text, strings.Join(words, ", "))
}
