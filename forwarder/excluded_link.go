package forwarder

import (
	"net/netip"

	"uvs/forwarder/frame"
)

// warnExcluded warns of each real server whose route takes an interface that the director
// was told not to work on, once for as long as the server is there. Its arguments are
// the addresses that were added and removed. The caller holds planLock.
func (fw *Forwarder) warnExcluded(added, gone []netip.Addr) {
	for _, a := range gone {
		delete(fw.checkedServers, a)
	}
	links := fw.links.Load()
	if len(fw.conf.Interfaces) == 0 || len(links.links) == 0 {
		return
	}
	if fw.checkedServers == nil {
		fw.checkedServers = map[netip.Addr]bool{}
	}
	for _, a := range added {
		if !fw.checkedServers[a] {
			fw.checkedServers[a] = true
			fw.warnIfExcluded(a, links)
		}
	}
}

// warnIfExcluded warns of a server if its route takes an interface left out.
func (fw *Forwarder) warnIfExcluded(a netip.Addr, links *linkSet) {
	hop, v := fw.neigh.Lookup(a)
	if v != frame.Continue || hop.Local {
		return
	}
	l := links.byIndex(hop.Link)
	if l == nil || l.Loopback || fw.usesLink(l.Link) {
		return
	}
	fw.log.Warn("the route to a real server takes an interface that -i leaves out",
		"event", "server-route-excluded", "server", a, "link", l.Name,
		"then", "what comes in by it is not seen: replies of NAT and FULLNAT servers, answers to ARP",
		"do", "add -i "+l.Name+", or leave -i out")
}
