package forwarder

import (
	"uvs/conntrack"
	"uvs/sched"
)

// expireNoDest ends the connections of removed servers if expire_nodest_conn says
// so, and templates that then control none. IPVS does it when a server is removed
// (ip_vs_conn.c, ip_vs_expire_nodest_conn_flush); what it leaves, a template with
// connections, ends with its next packet. A server's policy takes precedence.
func (fw *Forwarder) expireNoDest() {
	if fw.Table.ServerRemoved.Swap(false) {
		fw.endNoDest()
	}
}

// endNoDest does what expireServerless does, whenever it is called.
func (fw *Forwarder) endNoDest() {
	if fw.sysctl.Load().ExpireNodestConn == 0 {
		return
	}
	now := fw.now()
	r := fw.conns.Reader()
	defer r.Close()
	r.Range(func(c *conntrack.Conn) bool {
		if c.Method() == sched.Bypass {
			return true
		}
		if s := fw.Server(c.Server); (s == nil || !s.Available() && !s.HasDrainEnd()) && c.Controls() == 0 {
			fw.endConn(r, c, now)
		}
		return true
	})
}

// endConn removes a connection, and its template if that controls no other.
func (fw *Forwarder) endConn(r *conntrack.Reader, c *conntrack.Conn, now conntrack.Tick) {
	control := c.Control
	if !r.Remove(c, now) || control == 0 {
		return
	}
	if ct := fw.conns.At(control); ct.Controls() == 0 {
		r.Remove(ct, now)
	}
}
