package lab

// Parameter is a kernel parameter that a node sets.
type Parameter struct {
	Family   string // ipv4 or ipv6
	Name     string // below net.FAMILY, or below net.FAMILY.conf.INTERFACE
	Value    string
	Each     bool // it is of each interface
	Optional bool // a kernel may be without it
}

// Parameters returns the parameters that affect how a node routes packets, in the order in
// which they are set: writing ip_forward resets others of its family.
func (n *Node) Parameters() (all []Parameter) {
	forward := "0"
	if n.Forward {
		forward = "1"
	}
	all = append(all, Parameter{Family: "ipv4", Name: "ip_forward", Value: forward})
	for _, kv := range [][2]string{
		{"rp_filter", "0"}, {"arp_ignore", "0"}, {"arp_announce", "0"}, {"arp_filter", "0"},
		{"accept_redirects", "0"}, {"send_redirects", "0"}, {"forwarding", forward},
	} {
		all = append(all, Parameter{Family: "ipv4", Name: kv[0], Value: kv[1], Each: true})
	}
	for _, kv := range [][2]string{ // a kernel without IPv6 has none of these
		{"accept_dad", "0"}, {"dad_transmits", "0"}, {"accept_ra", "0"}, {"autoconf", "0"},
		{"router_solicitations", "0"}, {"forwarding", forward},
	} {
		all = append(all, Parameter{Family: "ipv6", Name: kv[0], Value: kv[1], Each: true, Optional: true})
	}
	// A fresh namespace closes ping sockets to everyone.
	return append(all, Parameter{Family: "ipv4", Name: "ping_group_range", Value: "0 0", Optional: true})
}

// Words returns NAME=VALUE, as sysctl(8) is told it: of each interface named, if it is one of
// interfaces.
func (p *Parameter) Words(interfaces ...string) (all []string) {
	if !p.Each {
		return []string{"net." + p.Family + "." + p.Name + "=" + p.Value}
	}
	for _, i := range interfaces {
		all = append(all, "net."+p.Family+".conf."+i+"."+p.Name+"="+p.Value)
	}
	return all
}
