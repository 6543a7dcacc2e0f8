// Package config is what an administrator says to a director: services, real
// servers, timeouts, local addresses. ipvsadm's grammar, the rules file and the
// control API all speak in these types; the forwarder takes them and hands them
// back with its counters. It is plain data that can be copied, with JSON names
// that are part of the control API.
package config

import (
	"net/netip"

	"uvs/sched"
)

// Key names a service: protocol, address and port, or a firewall mark.
type Key struct {
	Proto  Proto      `json:"protocol,omitempty"` // tcp, udp or sctp; empty for a mark
	Addr   netip.Addr `json:"address,omitzero"`
	Port   uint16     `json:"port,omitempty"`
	Mark   uint32     `json:"mark,omitempty"`   // firewall mark, 0 for a service by address
	Family Family     `json:"family,omitempty"` // of the real servers' addresses and, for a mark, of the service
}

// Proto is the protocol of a service: an IP protocol number that is written as
// a name in JSON ("tcp", "udp", "sctp").
type Proto uint8

// Family is an address family, "ipv4" or "ipv6" in JSON; zero is unspecified.
type Family uint8

// Address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Service is a virtual service as ipvsadm -A and -E describe it.
type Service struct {
	Key
	Scheduler string      `json:"scheduler"`
	Flags     sched.Flags `json:"scheduler_flags,omitempty"`
	// Persistent is the timeout of persistence templates in seconds, 0 for a
	// service that is not persistent.
	Persistent uint32 `json:"persistent,omitempty"`
	// Netmask groups clients under persistence: an IPv4 mask in host order as
	// a number would lose its meaning for IPv6, so this is the text ipvsadm
	// takes (-M): "255.255.255.0", or a prefix length for IPv6. Empty is all
	// bits.
	Netmask   string `json:"netmask,omitempty"`
	PE        string `json:"pe,omitempty"` // persistence engine, "sip" or empty
	OnePacket bool   `json:"one_packet,omitempty"`
	// Local are the addresses FULLNAT translates clients to.
	Local []netip.Addr `json:"local_addresses,omitempty"`
	// Policy is ours, not IPVS's; edits of the service leave it as it is.
	Policy Policy `json:"policy,omitzero"`
	// SynProxy has the director answer the service's SYNs itself, with SYN cookies. It
	// is ours, too, and edits leave it as it is.
	SynProxy bool `json:"syn_proxy,omitempty"`
	// VIPRole is ours as well, and edits leave it as it is.
	VIPRole VIPRole `json:"vip_role,omitempty"`
	// Checks ask the service's servers whether they serve. They are ours, too, and edits
	// leave them as they are.
	Checks []Check `json:"checks,omitempty"`
}

// SynProxy is the setting of a service's SYN proxy by itself.
type SynProxy struct {
	On bool `json:"on"`
}

// TunnelType is how a tunnelled packet is wrapped.
type TunnelType uint8

// Tunnel types with the kernel's numbers (linux/ip_vs.h); "ipip", "gue", "gre" in JSON.
const (
	IPIP TunnelType = iota
	GUE
	GRE
)

// TunnelFlags are the checksum flags of GUE and GRE tunnels.
type TunnelFlags uint16

// Tunnel flags with the kernel's numbers (linux/ip_vs.h).
const (
	TunnelNoCsum  TunnelFlags = 0
	TunnelCsum    TunnelFlags = 1
	TunnelRemCsum TunnelFlags = 2
)

// Server is a real server as ipvsadm -a and -e describe it.
type Server struct {
	Addr   netip.Addr   `json:"address"`
	Port   uint16       `json:"port"`
	Method sched.Method `json:"method"` // "masq", "route", "tunnel" or "fullnat" in JSON
	Weight int32        `json:"weight"`
	Upper  uint32       `json:"upper_threshold,omitempty"`
	Lower  uint32       `json:"lower_threshold,omitempty"`

	TunnelType  TunnelType  `json:"tunnel_type,omitempty"`
	TunnelPort  uint16      `json:"tunnel_port,omitempty"`
	TunnelFlags TunnelFlags `json:"tunnel_flags,omitempty"`
}

// NewServer returns what ipvsadm -a fills in: direct routing and weight 1.
func NewServer() Server { return Server{Method: sched.Route, Weight: 1} }

// Timeouts are the three of ipvsadm --set, in seconds.
type Timeouts struct {
	TCP    uint32 `json:"tcp"`
	TCPFin uint32 `json:"tcp_fin"`
	UDP    uint32 `json:"udp"`
}

// Stats are counters since the start or the last -Z, and their rates over
// the last seconds as the kernel's estimator gives them.
type Stats struct {
	Conns    uint64 `json:"connections"`
	InPkts   uint64 `json:"packets_in"`
	OutPkts  uint64 `json:"packets_out"`
	InBytes  uint64 `json:"bytes_in"`
	OutBytes uint64 `json:"bytes_out"`

	CPS    uint64 `json:"connections_per_second"`
	InPPS  uint64 `json:"packets_in_per_second"`
	OutPPS uint64 `json:"packets_out_per_second"`
	InBPS  uint64 `json:"bytes_in_per_second"`
	OutBPS uint64 `json:"bytes_out_per_second"`
}

// ServiceState is a service with its real servers and counters, in the order
// they were added.
type ServiceState struct {
	Service
	Stats   Stats         `json:"stats"`
	Servers []ServerState `json:"servers"`
}

// ServerState is a real server with its connection counts and counters.
type ServerState struct {
	Server
	ID         sched.ID `json:"id"`
	Active     uint32   `json:"active_connections"`
	Inactive   uint32   `json:"inactive_connections"`
	Persistent uint32   `json:"persistent_connections"`
	Overloaded bool     `json:"overloaded,omitempty"`
	// Held is set while a check keeps new connections from the server, whatever its weight.
	Held bool `json:"held,omitempty"`
	// Refusals are what the packets of clients showed about the server.
	Refusals Refusals `json:"refusals,omitzero"`
	// DrainLeft is how long the connections of a server of weight 0 may go on, in
	// milliseconds, if the service's policy sets an end to that.
	DrainLeft uint32 `json:"drain_left_ms,omitempty"`
	Stats     Stats  `json:"stats"`
}

// Refusals count, since the director began, what shows that a server does not take
// connections: each connection once at most, and none whose server has answered. Of a
// server by direct routing or a tunnel only the first is seen: its answers do not pass
// the director.
type Refusals struct {
	NoReply     uint64 `json:"no_reply"`    // connections whose client had to repeat its SYN
	Resets      uint64 `json:"resets"`      // resets in answer to a SYN
	Unreachable uint64 `json:"unreachable"` // connections with an ICMP error: destination unreachable
}

// Since returns how many have come since an earlier count.
func (r Refusals) Since(old Refusals) Refusals {
	return Refusals{r.NoReply - old.NoReply, r.Resets - old.Resets, r.Unreachable - old.Unreachable}
}

// Sum returns how many there are of all kinds.
func (r Refusals) Sum() uint64 { return r.NoReply + r.Resets + r.Unreachable }

// Connection is an entry of the connection table as ipvsadm -Lc prints it.
type Connection struct {
	Proto     Proto          `json:"protocol"` // 0 for a template of a mark ("IP")
	Client    netip.AddrPort `json:"client"`
	Virtual   netip.AddrPort `json:"virtual"`
	Local     netip.AddrPort `json:"local,omitzero"` // FULLNAT only
	Server    netip.AddrPort `json:"server"`
	Method    sched.Method   `json:"method"`
	State     string         `json:"state"`
	Expires   uint32         `json:"expires_ms"` // milliseconds until it goes if nothing comes
	Template  bool           `json:"template,omitempty"`
	Mark      uint32         `json:"mark,omitempty"`
	InPkts    uint64         `json:"packets_in"`
	PEName    string         `json:"pe,omitempty"`
	PEData    string         `json:"pe_data,omitempty"`
	Synced    bool           `json:"synced,omitempty"` // it came from another director
	ServerNow sched.ID       `json:"server_id"`        // 0 if the server is no longer configured
}

// Sysctl is a setting of net.ipv4.vs.
type Sysctl struct {
	Name    string `json:"name"` // without net.ipv4.vs
	Value   string `json:"value"`
	Default string `json:"default,omitempty"`
	Meaning string `json:"meaning,omitempty"`
}
