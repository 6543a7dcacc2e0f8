package conntrack

// Listen makes a TCP connection that is not in the table yet one that an
// application helper expects: it waits in LISTEN for as long as the rules give
// that state (ip_vs_proto_tcp.c, ip_vs_tcp_conn_listen).
func (c *Conn) Listen(r *Rules) {
	c.life = c.life&^(0xff<<stateShift) | uint32(TCPListen)<<stateShift
	c.timeout = uint32(r.TCP[TCPListen])
}
