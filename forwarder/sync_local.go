package forwarder

import (
	"net/netip"
	"slices"

	"uvs/conntrack"
	"uvs/forwarder/connsync"
	"uvs/forwarder/service"
)

// claim takes the local port of a connection by FULLNAT. Another one of the same sender
// that has it is over: the sender has given its port away. One that has had packets here is
// not the sender's any more.
func (a *syncTaker) claim(c *conntrack.Conn, svc *service.Service) bool {
	own := a.owns(svc, c)
	if a.fw.locals.Claim(c, own) {
		return true
	}
	back := c.ReplyFlow()
	old, isReply := a.reader.Lookup(&back)
	if old == nil || !isReply || !a.fw.sync.untouched(old) || !a.reader.Remove(old, a.now) {
		return false
	}
	return a.fw.locals.Claim(c, own)
}

// mayUse reports whether a service may use the local address of an entry here: it is one of
// its own, or the host's.
func (a *syncTaker) mayUse(svc *service.Service, e *connsync.Entry) bool {
	local := netip.AddrFrom16(e.Local).Unmap()
	return slices.Contains(svc.Local, local) || a.fw.neigh.LocalAddr(local)
}

// owns reports whether the local address of a connection is one that its service has, and
// that this director answers for now: it goes on to, should the service lose the address.
func (a *syncTaker) owns(svc *service.Service, c *conntrack.Conn) bool {
	return svc != nil && slices.Contains(svc.Local, netip.AddrFrom16(c.Local).Unmap()) && a.fw.view.Load().Owns(c.Local)
}
