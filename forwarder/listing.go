package forwarder

import (
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
)

// Connections returns the connection table as ipvsadm -Lc shows it, in no
// particular order.
func (fw *Forwarder) Connections() []config.Connection {
	now := fw.now()
	var all []config.Connection
	r := fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool {
		if !fw.isProbe(c) {
			all = append(all, fw.connection(c, now))
		}
		return true
	})
	return all
}

func (fw *Forwarder) connection(c *conntrack.Conn, now conntrack.Tick) config.Connection {
	e := config.Connection{
		Proto:    config.Proto(c.Proto()),
		Client:   c.ClientAddr(),
		Virtual:  c.VirtualAddr(),
		Server:   c.RealAddr(),
		Method:   c.Method(),
		State:    c.StateName(),
		Expires:  uint32(c.Expires(now) / time.Millisecond),
		Template: c.Has(conntrack.Template),
		InPkts:   uint64(c.Packets()),
		Synced:   c.Has(conntrack.Synced),
	}
	if c.Method().NeedsLocal() {
		e.Local = c.LocalAddr()
	}
	if e.Template && c.Has(conntrack.Helped) {
		e.PEName, e.PEData = "sip", fw.sip.of(fw.conns.Ref(c))
	}
	if s := fw.Server(c.Server); s != nil {
		e.Mark = s.Key.Mark
		if s.Available() {
			e.ServerNow = s.ID
		}
	}
	return e
}
