package frame

// IPv6 extension headers (IANA, IPv6 Extension Header Types). AH, which is one
// too, stands among the protocols.
const (
	ProtoHopByHop = 0
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoNoNext   = 59 // nothing follows (RFC 8200 section 4.7)
	ProtoDestOpts = 60
	ProtoMobility = 135
)

// MaxExtensions is the largest number of extension headers of a packet. One with
// more is malformed.
const MaxExtensions = 8

// ExtensionLen returns the length of the extension header of kind proto at the start
// of h. It is 0 if proto is not one of those that can be skipped: hop-by-hop and
// destination options, routing, fragment (RFC 8200 section 4) and AH (RFC 4302
// section 2.2). It reports false if h ends within the header. The first byte of each
// names the next header.
func ExtensionLen(proto uint8, h []byte) (n int, ok bool) {
	switch proto {
	case ProtoHopByHop, ProtoRouting, ProtoDestOpts:
		if len(h) < 8 {
			return 0, false
		}
		n = int(h[1])*8 + 8
	case ProtoAH:
		if len(h) < 8 {
			return 0, false
		}
		n = int(h[1])*4 + 8
	case ProtoFragment:
		n = 8
	}
	return n, n <= len(h)
}
