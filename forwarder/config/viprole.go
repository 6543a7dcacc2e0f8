package config

// VIPRole says when a director answers for a virtual address: whether it replies to ARP
// and neighbour discovery for it and announces it.
type VIPRole string

// Roles.
const (
	// VIPDefault is, for a service, what the director as a whole has, and for that one
	// VIPAlways.
	VIPDefault VIPRole = ""
	// VIPAlways answers whatever the host has.
	VIPAlways VIPRole = "always"
	// VIPHost answers only while the host has the address, which a VRRP router or the agent
	// of a cloud gives and takes. Otherwise packets to it are left to the host's own stack.
	VIPHost VIPRole = "host"
	// VIPNone never answers, and serves what is routed here.
	VIPNone VIPRole = "none"
)

// Validate reports a role that is none.
func (r VIPRole) Validate() error {
	switch r {
	case VIPDefault, VIPAlways, VIPHost, VIPNone:
		return nil
	}
	return wrong("vip_role", "it is always, host or none, not %q", string(r))
}

// Or returns the role, or the other one if it is VIPDefault.
func (r VIPRole) Or(other VIPRole) VIPRole {
	switch {
	case r != VIPDefault:
		return r
	case other != VIPDefault:
		return other
	}
	return VIPAlways
}

// VIPSetting is the role of a service by itself.
type VIPSetting struct {
	Role VIPRole `json:"vip_role"`
}

// VIP is what a director does about the virtual address of a service.
type VIP struct {
	Service Key     `json:"service"`
	Role    VIPRole `json:"vip_role"`          // the one that counts
	Default bool    `json:"default,omitempty"` // it is the director's, as the service has none
	Answers bool    `json:"answers"`           // it answers for the address, or for one of those of a mark
	Serves  bool    `json:"serves"`            // it takes packets for the service
}
