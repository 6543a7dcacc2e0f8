package director

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"uvs/forwarder/afpacket"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/internal/control"
)

// Clean undoes what a director that was killed has left in this network namespace, where none
// runs: generic receive offload, entries of the host's neighbour table, the guard's table, its
// state. It returns what it did, a line for each. Only what the state knows of is restored:
// that of the Config's State.
func Clean(c Config) (done []string, err error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if all := control.Introductions(); len(all) > 0 {
		return nil, fmt.Errorf("director: one works here: %s; stop it, and it leaves nothing", all[0])
	}
	d := &Director{conf: c, gro: &afpacket.GRO{Mode: c.GRO, Log: c.Log}}
	if err := d.openState(); err != nil {
		return nil, err
	}
	var restored, removed, tables error
	for _, index := range d.hostNote().GRO {
		d.gro.Resume([]int{index})
		if link, err := net.InterfaceByIndex(index); err == nil {
			done = append(done, "generic receive offload is off again: "+link.Name)
		}
	}
	restored = d.gro.Restore()
	addrs, removed := neigh.RemoveHostEntries()
	for _, a := range addrs {
		done = append(done, "entry of the host's neighbour table removed: "+a.String())
	}
	names, tables := guard.Remove()
	for _, name := range names {
		done = append(done, "nftables table removed: "+name)
	}
	err = errors.Join(restored, removed, tables)
	if d.state == nil || err != nil {
		return done, errors.Join(err, d.state.Close())
	}
	if d.state.Adopted() {
		done = append(done, "state removed: "+d.state.Where())
	}
	return done, d.state.Remove()
}
