package bench

import (
	"fmt"
	"net/netip"
	"os"

	"uvs/bench/load"
)

// ipvsadmPaths are where the kernel's tool may be. It is not looked for in PATH:
// in a lab that name is ours.
var ipvsadmPaths = []string{"/usr/sbin/ipvsadm", "/sbin/ipvsadm"}

// missingIPVS says why the kernel's virtual server cannot be measured here, or
// "". A module is not loaded for the purpose: that would change the machine.
func missingIPVS(t load.Target) string {
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		return fmt.Sprintf("%v: this kernel has no IPVS, or its module ip_vs is not loaded", t)
	}
	if ipvsadm() == "" {
		return fmt.Sprintf("%v: ipvsadm is not installed", t)
	}
	return ""
}

// ipvsadm is the path of the kernel's tool, or "". A link to this program is not
// it.
func ipvsadm() string {
	self, _ := os.Stat("/proc/self/exe")
	for _, p := range ipvsadmPaths {
		if f, err := os.Stat(p); err == nil && !os.SameFile(f, self) {
			return p
		}
	}
	return ""
}

// launchIPVS gives the node's kernel its services.
func (b *testbed) launchIPVS(r *running, m load.Method) error {
	for _, words := range ipvsCommands(r.lane, netip.AddrPortFrom(r.addressed(load.Target{Method: m}), firstPort), m) {
		if _, err := b.lab.Exec(r.node, append([]string{ipvsadm()}, words...)...); err != nil {
			return err
		}
	}
	return nil
}

// ipvsCommands are the words that an administrator would type after ipvsadm.
func ipvsCommands(l lane, service netip.AddrPort, m load.Method) [][]string {
	flag := methodFlag[m.Equivalent()]
	var all [][]string
	for _, proto := range []string{"-u", "-t"} {
		all = append(all, []string{"-A", proto, service.String(), "-s", "rr"})
		for i := range l.servers {
			server := netip.AddrPortFrom(l.server(i), service.Port())
			all = append(all, []string{"-a", proto, service.String(), "-r", server.String(), flag})
		}
	}
	return all
}
