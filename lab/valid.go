package lab

import (
	"fmt"
	"regexp"

	"uvs/lab/wire"
)

// nodeName keeps names usable as host names and as file names in /run/netns; networkName
// keeps them usable as names of bridges, of which the kernel takes 15 characters.
var (
	nodeName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	networkName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$`)
)

// MaxNodes is how many nodes a lab can have: so many have MAC addresses.
const MaxNodes = 254

// IsNodeName reports whether a node can have a name.
func IsNodeName(name string) bool { return nodeName.MatchString(name) }

// IsNetworkName reports whether a network can have a name.
func IsNetworkName(name string) bool { return networkName.MatchString(name) && name != "lo" }

// check reports what is wrong with a topology.
func (t *Topology) check() error {
	if len(t.Nodes) > MaxNodes {
		return fmt.Errorf("lab: %d nodes: it can be up to %d", len(t.Nodes), MaxNodes)
	}
	networks := map[string]bool{}
	for _, n := range t.Networks {
		if !IsNetworkName(n.Name) || networks[n.Name] {
			return fmt.Errorf("lab: network name %q is longer than 15 characters, has others than letters, digits and -, or occurs twice", n.Name)
		}
		networks[n.Name] = true
	}
	seen := map[string]bool{}
	for _, n := range t.Nodes {
		if !IsNodeName(n.Name) || seen[n.Name] {
			return fmt.Errorf("lab: node name %q is not a host name or occurs twice", n.Name)
		}
		seen[n.Name] = true
		for _, i := range n.Interfaces {
			if !networks[i.Network] {
				return fmt.Errorf("lab: node %s is on network %q, which is not declared", n.Name, i.Network)
			}
			if t.fixed() && i.Impair != (wire.Impairment{}) {
				return fmt.Errorf("lab: node %s: the links of a measurement cannot be impaired", n.Name)
			}
		}
	}
	return t.checkChecks()
}
