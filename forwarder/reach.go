package forwarder

import (
	"net/netip"

	"uvs/forwarder/frame"
)

// leftOut warns of each real server whose route takes an interface that the
// director was told not to work on, once for as long as the server is there.
// The caller holds settling.
func (fw *Forwarder) leftOut() {
	links := fw.links.Load()
	if len(fw.conf.Interfaces) == 0 || len(links.links) == 0 {
		return
	}
	present := make(map[netip.Addr]bool, len(fw.reached))
	for svc := range fw.Load().All() {
		for _, s := range svc.Servers {
			a := s.Addr.Addr()
			if !present[a] && !fw.reached[a] {
				fw.warnLeftOut(a, links)
			}
			present[a] = true
		}
	}
	fw.reached = present
}

// warnLeftOut warns of a server if its route takes an interface left out.
func (fw *Forwarder) warnLeftOut(a netip.Addr, links *linkSet) {
	hop, v := fw.neigh.Lookup(a)
	if v != frame.Continue || hop.Local {
		return
	}
	l := links.byIndex(hop.Link)
	if l == nil || l.Loopback || fw.serves(l.Link) {
		return
	}
	fw.log.Warn("the route to a real server takes an interface that -i leaves out",
		"server", a, "link", l.Name,
		"then", "what comes in by it is not seen: replies of NAT and FULLNAT servers, answers to ARP",
		"do", "add -i "+l.Name+", or leave -i out")
}
