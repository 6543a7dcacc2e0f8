package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"uvs/sched"
)

// MaxTimeout is the longest persistence or connection timeout in seconds: 31
// days, as in ipvsadm.
const MaxTimeout = 31 * 24 * 3600

// FieldError is a wrong value in a configuration; it wraps ErrInvalid.
type FieldError struct {
	Field   string // JSON name
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Unwrap returns ErrInvalid.
func (e *FieldError) Unwrap() error { return ErrInvalid }

func wrong(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// Validate reports the first value of the key that no director can take.
func (k Key) Validate() error {
	if k.Mark != 0 {
		if k.Proto != 0 || k.Addr.IsValid() || k.Port != 0 {
			return wrong("mark", "a service by mark has no protocol, address or port")
		}
		return nil
	}
	switch {
	case k.Proto != TCP && k.Proto != UDP && k.Proto != SCTP:
		return wrong("protocol", "a service by address needs tcp, udp or sctp")
	case !k.Addr.IsValid():
		return wrong("address", "a service needs an address or a mark")
	case k.Addr.Zone() != "":
		return wrong("address", "a service's address has no zone")
	case k.Family != 0 && k.Family != FamilyOf(k.Addr):
		return wrong("family", "it is not that of the address")
	}
	return nil
}

// Validate reports the first value of the service that no director can take.
// Which schedulers there are is not its business.
func (s Service) Validate() error {
	if err := s.Key.Validate(); err != nil {
		return err
	}
	if s.Persistent > MaxTimeout {
		return wrong("persistent", "%d s is more than 31 days", s.Persistent)
	}
	if s.Mark == 0 && s.Port == 0 && s.Persistent == 0 {
		return wrong("port", "only a persistent service can have port 0")
	}
	if s.OnePacket && s.Mark == 0 && s.Proto != UDP {
		return wrong("one_packet", "one-packet scheduling is for udp services and marks")
	}
	if _, err := s.Mask(); err != nil {
		return err
	}
	if err := s.Policy.Validate(); err != nil {
		return fmt.Errorf("policy.%w", err)
	}
	if s.SynProxy {
		if err := s.Key.TakesSynProxy(); err != nil {
			return err
		}
	}
	if err := s.VIPRole.Validate(); err != nil {
		return err
	}
	for i, c := range s.Checks {
		if err := c.ValidateRepeated(s.Key); err != nil {
			return fmt.Errorf("checks.%w", err)
		}
		if slices.ContainsFunc(s.Checks[:i], c.SameProbe) {
			return wrong("checks", "%s is there twice", c)
		}
	}
	for _, a := range s.Local {
		if err := validLocal(a); err != nil {
			return err
		}
	}
	return nil
}

// TakesSynProxy reports a service that has no SYNs to answer.
func (k Key) TakesSynProxy() error {
	if k.Mark == 0 && k.Proto != TCP {
		return wrong("syn_proxy", "only tcp services and marks can have one")
	}
	return nil
}

func validLocal(a netip.Addr) error {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return wrong("local_addresses", "%s is not the address of a host", a)
	}
	return nil
}

// Mask returns the persistence mask as 16 bytes in the form of a frame.Flow's
// addresses: an IPv4 mask in the last four with the others all ones.
func (s Service) Mask() (mask [16]byte, err error) {
	for i := range mask {
		mask[i] = 0xff
	}
	if s.Netmask == "" {
		return mask, nil
	}
	if s.Normal().Family == IPv6 {
		return prefixMask(s.Netmask)
	}
	a, err := netip.ParseAddr(s.Netmask)
	if err != nil || !a.Is4() {
		return mask, wrong("netmask", "%q is not an IPv4 mask such as 255.255.255.0", s.Netmask)
	}
	four := a.As4()
	copy(mask[12:], four[:])
	return mask, nil
}

func prefixMask(text string) (mask [16]byte, err error) {
	bits, err := strconv.Atoi(text)
	if err != nil || bits < 1 || bits > 128 {
		return mask, wrong("netmask", "%q is not an IPv6 prefix length from 1 to 128", text)
	}
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask, nil
}

// Validate reports the first value of the server that no director can take.
// Weights and thresholds out of the kernel's range are ErrRange.
func (s Server) Validate() error {
	switch {
	case !s.Addr.IsValid():
		return wrong("address", "a real server needs an address")
	case s.Addr.Zone() != "":
		return wrong("address", "a real server's address has no zone")
	case s.Method == sched.Local:
		return wrong("method", "local is what IPVS makes of a server of its own, it cannot be asked for")
	case s.Method == sched.Bypass:
		return wrong("method", "bypass is for connections without a server")
	case s.Method.Traits().Internal:
		return wrong("method", "%s cannot be asked for", s.Method)
	case s.Weight < 0:
		return fmt.Errorf("weight: %d is negative: %w", s.Weight, ErrRange)
	case s.Lower > s.Upper:
		return fmt.Errorf("lower_threshold: %d is above the upper one, %d: %w", s.Lower, s.Upper, ErrRange)
	case s.TunnelType == GUE && s.TunnelPort == 0:
		return wrong("tunnel_port", "a gue tunnel needs one")
	}
	return nil
}

// Validate reports a timeout of more than 31 days.
func (t Timeouts) Validate() error {
	for _, field := range []struct {
		name    string
		seconds uint32
	}{{"tcp", t.TCP}, {"tcp_fin", t.TCPFin}, {"udp", t.UDP}} {
		if field.seconds > MaxTimeout {
			return wrong(field.name, "%d s is more than 31 days", field.seconds)
		}
	}
	return nil
}

// AddrPort returns the server's address and port.
func (s Server) AddrPort() netip.AddrPort { return netip.AddrPortFrom(s.Addr, s.Port) }
