package config

import (
	"fmt"

	"uvs/forwarder/frame"
)

// Protocols of services.
const (
	TCP  Proto = frame.ProtoTCP
	UDP  Proto = frame.ProtoUDP
	SCTP Proto = frame.ProtoSCTP
)

// String returns the protocol as ipvsadm's first column prints it: TCP, UDP,
// SCTP, or IP for the protocol of a mark's templates.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return "IP"
}

var protoWords = []word[Proto]{{TCP, "tcp"}, {UDP, "udp"}, {SCTP, "sctp"}, {0, "ip"}}

// MarshalText returns tcp, udp, sctp or, for 0, ip.
func (p Proto) MarshalText() ([]byte, error) { return wordOf(protoWords, p, "protocol") }

// UnmarshalText reads a word of MarshalText.
func (p *Proto) UnmarshalText(text []byte) error { return valueOf(protoWords, p, text, "protocol") }

var familyWords = []word[Family]{{IPv4, "ipv4"}, {IPv6, "ipv6"}}

// MarshalText returns ipv4 or ipv6.
func (f Family) MarshalText() ([]byte, error) { return wordOf(familyWords, f, "family") }

// UnmarshalText reads a word of MarshalText.
func (f *Family) UnmarshalText(text []byte) error { return valueOf(familyWords, f, text, "family") }

var tunnelWords = []word[TunnelType]{{IPIP, "ipip"}, {GUE, "gue"}, {GRE, "gre"}}

// String returns ipip, gue or gre.
func (t TunnelType) String() string {
	text, _ := t.MarshalText()
	return string(text)
}

// MarshalText returns ipip, gue or gre.
func (t TunnelType) MarshalText() ([]byte, error) { return wordOf(tunnelWords, t, "tunnel type") }

// UnmarshalText reads a word of MarshalText.
func (t *TunnelType) UnmarshalText(text []byte) error {
	return valueOf(tunnelWords, t, text, "tunnel type")
}

var tunnelFlagWords = []word[TunnelFlags]{
	{TunnelNoCsum, "nocsum"}, {TunnelCsum, "csum"}, {TunnelRemCsum, "remcsum"},
}

// MarshalText returns nocsum, csum or remcsum.
func (t TunnelFlags) MarshalText() ([]byte, error) { return wordOf(tunnelFlagWords, t, "tunnel flag") }

// UnmarshalText reads a word of MarshalText.
func (t *TunnelFlags) UnmarshalText(text []byte) error {
	return valueOf(tunnelFlagWords, t, text, "tunnel flag")
}

// A word is a value and its name in JSON and in the rules file.
type word[T comparable] struct {
	value T
	name  string
}

func wordOf[T ~uint8 | ~uint16](words []word[T], v T, kind string) ([]byte, error) {
	for _, w := range words {
		if w.value == v {
			return []byte(w.name), nil
		}
	}
	return nil, fmt.Errorf("no %s has the number %d", kind, v)
}

func valueOf[T ~uint8 | ~uint16](words []word[T], v *T, text []byte, kind string) error {
	for _, w := range words {
		if w.name == string(text) {
			*v = w.value
			return nil
		}
	}
	return fmt.Errorf("no %s %q", kind, text)
}
