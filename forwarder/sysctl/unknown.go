package sysctl

import (
	"fmt"

	"uvs/forwarder/config"
)

// unused are the parameters of the kernel under net.ipv4.vs that would change
// nothing here, and why (Linux's Documentation/networking/ipvs-sysctl.rst).
var unused = map[string]string{
	"conntrack":      "netfilter's connection tracking does not see what the director forwards",
	"snat_reroute":   "a reply is routed by where it goes",
	"debug_level":    "the director logs by its own settings, and uvs trace shows what becomes of a packet",
	"est_cpulist":    "rates are estimated without threads of the kernel's",
	"est_nice":       "rates are estimated without threads of the kernel's",
	"run_estimation": "rates are always estimated",
}

// Unknown returns the error for a parameter under net.ipv4.vs that a director
// does not have. It says why if the kernel has it.
func Unknown(name string) error {
	if why, ok := unused[name]; ok {
		return wrongName("the kernel's net.ipv4.vs.%s has no meaning here: %s", name, why)
	}
	return wrongName("there is no net.ipv4.vs.%s; uvs sysctl -a lists those there are", name)
}

func wrongName(format string, args ...any) error {
	return &config.FieldError{Field: "name", Problem: fmt.Sprintf(format, args...)}
}
