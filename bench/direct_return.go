package bench

import (
	"fmt"
	"net/netip"
	"strconv"

	"uvs/bench/load"
)

// setUpDirectReturn lets servers answer TCP clients themselves where a lane's director
// sends packets on with their destination unchanged (DR) or in a tunnel: the
// server has the virtual address on its loopback interface, and what it sends
// from there goes over a link of its own to the client.
func (b *testbed) setUpDirectReturn() error {
	tunnel := false
	for _, r := range b.lanes {
		if !r.direct {
			continue
		}
		vip := r.vip()
		for t := range r.ports {
			tunnel = tunnel || t.Method.Equivalent() == load.Tunnel
			if t.KernelIPVS() {
				vip = r.addressed(t)
			}
		}
		if err := b.direct(r, vip); err != nil {
			return err
		}
	}
	if tunnel {
		return b.decapsulate()
	}
	return nil
}

// direct gives one lane its way back.
func (b *testbed) direct(r *running, vip netip.Addr) error {
	table := strconv.Itoa(100 + r.number)
	for _, words := range [][]string{
		{"ip", "addr", "add", vip.String() + "/32", "dev", "lo"},
		{"ip", "rule", "add", "from", vip.String(), "lookup", table},
		{"ip", "route", "add", "default", "via", r.back(clientHost).String(), "table", table},
	} {
		if _, err := b.lab.Exec(load.ServerNode, words...); err != nil {
			return err
		}
	}
	// The answer comes by another interface than the request left by.
	for _, node := range []string{load.ClientNode, load.ServerNode} {
		if err := b.disableRPFilter(node); err != nil {
			return err
		}
	}
	return nil
}

// disableRPFilter switches the check of source addresses off in a node.
func (b *testbed) disableRPFilter(node string) error {
	out, err := b.lab.Exec(node, "sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done")
	if err != nil {
		return fmt.Errorf("bench: rp_filter of %s: %s: %w", node, out, err)
	}
	return nil
}

// decapsulate starts what takes the outer headers off in the server node. Its
// CPU time is nobody's: it belongs to the server.
func (b *testbed) decapsulate() error {
	c := b.command(load.ServerNode, -1, "uvs", "decap")
	c.Stderr = b.logs
	if err := c.Start(); err != nil {
		return err
	}
	return b.calls.Call("Reach", load.ReachCall{Node: load.ServerNode, Network: "unix", Address: decapSocket}, &struct{}{})
}

// decapSocket is what a decapsulator listens on when it is ready.
const decapSocket = "@uvs-decap"
