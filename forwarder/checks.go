package forwarder

import (
	"context"
	"net/netip"
	"time"

	"uvs/forwarder/check"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/sched"
)

// followTable connects the director with its table of services.
func (fw *Forwarder) followTable() {
	fw.checks = check.New(fw.Table, fw, fw.log)
	fw.Table.OnChange = fw.changed
	fw.Table.Clock = fw.now
	fw.Table.EndRemoved = fw.endNoDest
}

// changed lets the rest of the director follow a change of the table.
func (fw *Forwarder) changed() {
	fw.updateOrLog()
	fw.checks.Changed()
}

// runChecks asks as the checks say, from when packets are forwarded until the context ends.
func (fw *Forwarder) runChecks(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-fw.ready:
		fw.checks.Run(ctx)
	}
}

// Checks returns what the checks have found about each real server.
func (fw *Forwarder) Checks() []config.CheckState { return fw.checks.States() }

// CheckNow asks once, beside what the checks ask: see check.Runner.Now.
func (fw *Forwarder) CheckNow(ctx context.Context, k *config.Key, c *config.Check) ([]config.CheckState, error) {
	return fw.checks.Now(ctx, k, c)
}

// ProbeSource returns the address of the host that asks a server for a virtual address: that
// address itself if both are the host's. For a server that has to answer through the
// director as its gateway it is one outside the server's network if there is one: within
// it the server would answer past the gateway. Otherwise no virtual address asks, unless
// there is no other.
func (fw *Forwarder) ProbeSource(server, virtual netip.Addr, m sched.Method) netip.Addr {
	hop, v := fw.neigh.Lookup(server)
	if v != frame.Continue {
		return netip.Addr{}
	}
	n, ok := fw.neigh.(hostAddresses)
	switch {
	case hop.Local && fw.neigh.LocalAddr(virtual):
		return virtual
	case !ok || hop.Local:
		return hop.Source
	}
	if m.Masquerades() && !hop.Gateway.IsValid() {
		if a := n.HostAddr(hop.Link, false, server); a.IsValid() {
			return a
		}
	}
	if hop.Source.IsValid() && !fw.view.Load().Virtual(hop.Source.As16()) {
		return hop.Source
	}
	if a := n.HostAddr(hop.Link, true, server); a.IsValid() {
		return a
	}
	return hop.Source
}

// hostAddresses are Neighbours that know the addresses of the host's interfaces.
type hostAddresses interface {
	HostAddr(link int, on bool, family netip.Addr) netip.Addr
}

// claimants are Neighbours that find out who answers ARP for an address.
type claimants interface {
	AskClaim(hop *neigh.Hop, addr netip.Addr) (frame.Frame, bool)
	Claimed(hop *neigh.Hop, addr netip.Addr) time.Time
}

// AskARP asks a server on the director's own network for the MAC address of a virtual
// address.
func (fw *Forwarder) AskARP(server, virtual netip.Addr) {
	n, hop := fw.onLink(server)
	if n == nil {
		return
	}
	if f, ok := n.AskClaim(hop, virtual); ok {
		fw.Emit([]frame.Frame{f})
	}
}

// AnsweredARP returns when a server last answered that.
func (fw *Forwarder) AnsweredARP(server, virtual netip.Addr) time.Time {
	n, hop := fw.onLink(server)
	if n == nil {
		return time.Time{}
	}
	return n.Claimed(hop, virtual)
}

// onLink returns the next hop to a server that is on a network of the director's, and who
// can ask it; nil if it is not.
func (fw *Forwarder) onLink(server netip.Addr) (claimants, *neigh.Hop) {
	n, ok := fw.neigh.(claimants)
	if !ok {
		return nil, nil
	}
	hop, v := fw.neigh.Lookup(server)
	if v != frame.Continue || !hop.Resolved || hop.Local || hop.Gateway.IsValid() || !hop.Ethernet {
		return nil, nil
	}
	return n, hop
}
